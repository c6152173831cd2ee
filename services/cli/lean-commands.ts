import type { CommandContext } from '#console/context.ts'
import { VERSION } from '#runtime/version.ts'

/**
 * Runs the commands that clients and scripts start all the time, by which neither the parser nor the other commands are loaded.
 * Answers the exit code; null for any other command line.
 */
export async function runLeanCommand(argv: readonly string[], context: CommandContext): Promise<number | null> {
  const [first] = argv
  if (argv.length === 1 && (first === '--version' || first === '-V')) {
    context.print(`${VERSION}\n`)
    return 0
  }
  if (first === 'hook' && !asksForHelp(argv)) return await (await import('./hook.ts')).runHook(argv.slice(1), context)
  if (first !== 'mcp' || argv.length > 1) return null
  await (await import('./serve-mcp.ts')).serveMcp(context, null)
  return 0
}

function asksForHelp(argv: readonly string[]): boolean {
  return argv.includes('--help') || argv.includes('-h')
}
