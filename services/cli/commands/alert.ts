import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { stateFolder } from '#console/state-folder.ts'
import { table } from '#console/table.ts'
import { ago } from '#console/terminal-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { askForTestAlerts, type ChannelTest } from '#runtime/alert-test.ts'

const EXAMPLES = `
Examples:
  s2 alert test          sends a test alert through each channel, and says which took it; exit code 1 when one did not

The watchdog that runs with this state folder sends it, with its settings (S2_ALERT_EXEC, S2_ALERT_WEBHOOK) and its rights, as
it sends alerts of incidents. Whatever S2_ALERT_ON leaves out, a test is sent.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('test')
    .description('send a test alert through each channel')
    .option('--json', 'print JSON')
    .action(async ({ json }: { readonly json?: true }) => {
      const outcomes = await test(context)
      if (json === true) context.print(`${JSON.stringify(outcomes, null, 2)}\n`)
      else context.print(`${table(COLUMNS, outcomes.map(cellsOf), context.screen.columns).join('\n')}\n`)
      if (outcomes.some(({ outcome }) => outcome === 'failed')) throw new Exit(EXIT.failed)
    })
}

const COLUMNS = [{ title: 'CHANNEL' }, { title: 'TOOK' }, { title: 'OUTCOME', stretches: true }]

function cellsOf({ channel, outcome, why, tookMs }: ChannelTest): string[] {
  return [channel, ago(tookMs), why === null ? outcome : `${outcome}: ${why}`]
}

async function test(context: CommandContext): Promise<readonly ChannelTest[]> {
  const state = stateFolder(context)
  try {
    return await askForTestAlerts(state, context.clock)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' || code === 'ECONNREFUSED' ? 'none runs' : message
    throw new S2Error('unavailable', `the watchdog with the state folder ${state} does not answer: ${why}`, {
      next: 's2 health watchdog says how it is; alerts are sent only while it runs',
    })
  }
}
