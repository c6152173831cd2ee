import { systemContext } from '#console/context.ts'
import { runLeanCommand } from './lean-commands.ts'

const argv = process.argv.slice(2)
const context = systemContext(process.env)
process.exitCode =
  (await runLeanCommand(argv, context)) ?? (await (await import('./command-tree.ts')).s2(argv, context))
