import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { reachFleet } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import type { FleetAgent } from '#fleet/peer-messages.ts'

const EXAMPLES = `
Examples:
  s2 agent list          who is in the fleet, and can be written to: s2 send NAME 'text'

A worker sees its orchestrator, itself, and those that the rule of the bridge (S2_PEER_MESSAGES) lets it write to.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('list')
    .description('list the agents that can be written to')
    .option('--json', 'print JSON')
    .action(async ({ json }: { readonly json?: true }) => await list(context, json === true))
}

async function list(context: CommandContext, isJson: boolean): Promise<void> {
  await using reached = await reachFleet(context)
  const agents = await reached.store.listAgents()
  if (isJson) context.print(`${JSON.stringify(agents, null, 2)}\n`)
  else if (agents.length === 0) context.print('no agent is in the fleet\n')
  else context.print(`${table(COLUMNS, agents.map(cellsOf), context.screen.columns).join('\n')}\n`)
}

const COLUMNS = [{ title: 'AGENT', stretches: true }, { title: 'ROLE' }, { title: 'VERDICT' }]

function cellsOf({ agent, role, verdict }: FleetAgent): string[] {
  return [agent, role, verdict ?? '-']
}
