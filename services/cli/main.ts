import { systemContext } from '#console/context.ts'
import { s2 } from './command-tree.ts'

process.exitCode = await s2(process.argv.slice(2), systemContext(process.env))
