import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { killAll, markedBy } from '../../local/process-tree.ts'

/**
 * Started by `s2 up` beside the fleet, in a session of its own. Its standard input is a pipe that only `s2 up` holds:
 * when that ends without a word, `s2 up` has died, however it died, and the guard ends what it left.
 */
export function define(command: Command, shell: CommandContext): void {
  command
    .argument('<state>', "the fleet's state folder")
    .option('--json', 'print JSON')
    .action(async (state: string) => {
      process.title = 's2-guard'
      // A terminal that closes, or a Ctrl-C meant for `s2 up`, must not end the guard before its work.
      using _deaf = shell.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], () => undefined)
      const word = await shell.input(100)
      if (word === '') await killAll(markedBy(state), shell.clock)
    })
}
