import { type Command, Option } from 'commander'
import { pause } from '../option-parsers.ts'
import { failureOf } from '#console/failure.ts'
import { type Overview, readOverview, renderOverview } from '#console/fleet-overview.ts'
import { type Reached, reach } from '#console/store-access.ts'
import { painter, show } from '#console/screen.ts'
import type { Shell } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { askControl, type MemberStatus } from '#console/fleet-control.ts'

const EXAMPLES = `
Examples:
  s2 status                one look
  s2 status --watch        a live table; q or Ctrl-C leaves it
  s2 status --json | jq '.agents[] | select(.verdict != "alive")'`

interface Options {
  readonly watch?: true
  readonly every: number
  readonly json?: true
}

export function define(command: Command, shell: Shell): void {
  command
    .option('-w, --watch', 'show it live')
    .addOption(
      new Option('--every <duration>', 'how often the live table is drawn').argParser(pause).default(1_000, '1s'),
    )
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const state = stateFolder(shell)
      await using reached = await reach(shell)
      if (reached.unserved) shell.tell(`s2: no bridge runs in ${state}: this is what its database remembers\n`)
      if (options.watch === true && options.json !== true && shell.screen.isTerminal) {
        return await watch(shell, reached, state, options.every)
      }
      const overview = await look(shell, reached, state)
      if (options.json === true) shell.print(`${JSON.stringify(overview, null, 2)}\n`)
      else shell.print(`${renderOverview(overview, shell.screen.columns, painter(shell)).join('\n')}\n`)
    })
}

async function look(shell: Shell, { store }: Reached, state: string): Promise<Overview> {
  const members = (await askControl(state, 'GET', '/members').catch(() => null)) as MemberStatus[] | null
  return await readOverview(store, shell.clock.wall(), members)
}

async function watch(shell: Shell, reached: Reached, state: string, everyMs: number): Promise<void> {
  const paint = painter(shell)
  let last: Overview | null = null
  await show(
    shell,
    async (columns, rows) => {
      let trouble: string | null = null
      try {
        last = await look(shell, reached, state)
      } catch (error) {
        trouble = failureOf(error).message
      }
      const foot = trouble === null ? paint('dim', 'q leaves') : paint('red', `${trouble}; asking again`)
      const table = last === null ? [] : renderOverview(last, columns, paint)
      return [...table.slice(0, Math.max(0, rows - 2)), '', foot]
    },
    everyMs,
  )
}
