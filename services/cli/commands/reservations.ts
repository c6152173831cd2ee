import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { reachFleet } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { ago } from '#console/terminal-text.ts'
import { cleanRepository, isSameRepository, type Reservation } from '#fleet/reservation.ts'
import { keepList } from '#member/keep-list.ts'

const EXAMPLES = `
Examples:
  s2 reservations
  s2 reservations --repo github.com/team/app
  s2 reservations --json`

interface ListOptions {
  readonly repo?: string
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .option('--repo <name>', 'only those of this repository')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: ListOptions) => await list(context, options))
}

async function list(context: CommandContext, { repo, json }: ListOptions): Promise<void> {
  await using reached = await reachFleet(context)
  const all = await keepList(reached.store, { state: stateFolder(context), clock: context.clock })
  const names = repo === undefined ? null : cleanRepository([repo])
  const found = all.filter(({ repository }) => names === null || isSameRepository(names, repository))
  if (json === true) return context.print(`${JSON.stringify(found, null, 2)}\n`)
  if (found.length === 0) return context.print('no files are reserved\n')
  const now = context.clock.wall()
  const columns = [...['AGENT', 'MODE', 'LEFT', 'TASK', 'REPOSITORY'].map((title) => ({ title })), FILES]
  context.print(
    `${table(
      columns,
      found.map((each) => rowOf(each, now)),
      context.screen.columns,
    ).join('\n')}\n`,
  )
}

const FILES = { title: 'FILES', stretches: true } as const

function rowOf({ agent, mode, until, task, repository, glob, note }: Reservation, now: number): string[] {
  return [agent, mode, ago(until - now), task ?? '', repository[0] ?? '', note === null ? glob : `${glob} · ${note}`]
}
