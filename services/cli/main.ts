import { s2 } from './command-tree.ts'
import { systemShell } from '#console/context.ts'

process.exitCode = await s2(process.argv.slice(2), systemShell(process.env))
