import { runConsoleProgram } from '#console/console-program.ts'
import { systemContext } from '#console/context.ts'
import { program } from './worker.ts'

process.exitCode = await runConsoleProgram(program, process.argv.slice(2), systemContext(process.env))
