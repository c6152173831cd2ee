import { systemContext } from '#console/context.ts'
import { runLean } from './lean-commands.ts'

const argv = process.argv.slice(2)
const context = systemContext(process.env)
process.exitCode = (await runLean(argv, context)) ?? (await (await import('./command-tree.ts')).s2(argv, context))
