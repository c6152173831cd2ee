import { s2 } from './s2.ts'
import { systemShell } from './shell.ts'

process.exitCode = await s2(process.argv.slice(2), systemShell(process.env))
