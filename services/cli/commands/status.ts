import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, failureOf } from '#console/failure.ts'
import { type AgentProcesses, askControl } from '#console/fleet-control.ts'
import { type FleetOverview, readOverview, renderOverview } from '#console/fleet-overview.ts'
import { painter, showLive } from '#console/live-screen.ts'
import { stateFolder } from '#console/state-folder.ts'
import { type ReachedFleet, reachFleet } from '#console/store-access.ts'
import { pause } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 status                the fleet now
  s2 status --watch        a live table; q or Ctrl-C quits
  s2 status --json | jq '.agents[] | select(.needsPerson)'

The first line counts as alive whoever is heard, whatever keeps it from work, and says how many of those do nothing until a person acts.

Exit code 1 says that an agent is lost (silent, gone), that the database cannot be written to, or that nobody watches: no watchdog
has looked for two minutes, or no bridge runs. Then STATE shows what was thought last, and when. Exit code 0 says that none is so.`

interface Options {
  readonly watch?: true
  readonly every: number
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .option('-w, --watch', 'show a live table')
    .addOption(
      new Option('--every <duration>', 'how often the live table is redrawn').argParser(pause).default(1_000, '1s'),
    )
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const state = stateFolder(context)
      await using reached = await reachFleet(context)
      if (reached.unserved) context.tell(`s2: no bridge runs in ${state}: the table shows what its database holds\n`)
      if (options.watch === true && options.json !== true && context.screen.isTerminal) {
        return await watch(context, reached, state, options.every)
      }
      const overview = await look(context, reached, state)
      if (options.json === true) context.print(`${JSON.stringify(overview, null, 2)}\n`)
      else context.print(`${renderOverview(overview, context.screen.columns, painter(context)).join('\n')}\n`)
      if (!overview.isWell) throw new Exit(EXIT.failed)
    })
}

async function look(context: CommandContext, reached: ReachedFleet, state: string): Promise<FleetOverview> {
  const processes = await askControl(state, { method: 'GET', path: '/agents' }, context.clock).catch(() => null)
  return await readOverview(reached, context.clock.wall(), processes as AgentProcesses[] | null)
}

async function watch(context: CommandContext, reached: ReachedFleet, state: string, everyMs: number): Promise<void> {
  const paint = painter(context)
  let last: FleetOverview | null = null
  await showLive(
    context,
    async (columns, rows) => {
      let trouble: string | null = null
      try {
        last = await look(context, reached, state)
      } catch (error) {
        trouble = failureOf(error).message
      }
      const foot = trouble === null ? paint('dim', 'q quits') : paint('red', `${trouble}; asking again`)
      const table = last === null ? [] : renderOverview(last, columns, paint)
      return [...table.slice(0, Math.max(0, rows - 2)), '', foot]
    },
    everyMs,
  )
}
