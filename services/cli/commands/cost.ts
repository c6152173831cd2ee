import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { reachFleet } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { costText, tokensText } from '#console/usage-text.ts'
import { agentNames } from '#fleet/conversation.ts'
import { COST_KEYS, type CostKey, type CostTotal, costTotals } from '#fleet/cost-totals.ts'
import { addUsage, NO_USAGE } from '#fleet/usage.ts'
import { dayOf, systemZone } from '#runtime/wall-day.ts'

const EXAMPLES = `
Examples:
  s2 cost                      what each agent used
  s2 cost --by day             what was used on each day, by the clock of this machine
  s2 cost --by role --json

It adds up what the clients of agents said of the tasks that are still kept. Codex says tokens and no cost.`

export function define(command: Command, context: CommandContext): void {
  command
    .addOption(new Option('--by <key>', 'what is added up').choices([...COST_KEYS]).default('agent'))
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async ({ by, json }: { by: CostKey; json?: true }) => {
      await using reached = await reachFleet(context)
      const tasks = await reached.store.tasks({})
      const nameOf = agentNames(await reached.store.conversations())
      const zone = systemZone()
      const totals = costTotals(tasks, by, nameOf, (instant) => dayOf(instant, zone))
      if (json === true) context.print(`${JSON.stringify(totals, null, 2)}\n`)
      else context.print(totals.length === 0 ? 'no agent said what it used\n' : inColumns(totals, by, context))
    })
}

function inColumns(totals: readonly CostTotal[], by: CostKey, { screen }: CommandContext): string {
  const usage = totals.map((each) => each.usage).reduce(addUsage, NO_USAGE)
  const rows = [...totals, { name: 'all', tasks: totals.reduce((sum, { tasks }) => sum + tasks, 0), usage }]
  const titles = [by.toUpperCase(), 'TASKS', 'TURNS', 'TOKENS IN', 'CACHED', 'OUT', 'COST'].map((title) => ({ title }))
  // A task that several had counts for each, so that their sum says nothing.
  const cells = rows.map(({ name, tasks, usage: used }, index) => [
    name,
    index < totals.length ? String(tasks) : '',
    String(used.turns),
    ...[used.inputTokens, used.cachedTokens, used.outputTokens].map(tokensText),
    costText(used),
  ])
  return `${table(titles, cells, screen.columns).join('\n')}\n`
}
