import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { type ReachedFleet, reachFleet } from '#console/store-access.ts'
import { plain } from '#console/terminal-text.ts'
import { type NewReservation, RESERVED_FOR_MS, reservationInWords } from '#fleet/reservation.ts'
import { globsHere, repositoryHere } from '#git/files-here.ts'
import { formatDuration } from '#runtime/duration.ts'
import { someTime } from '../option-parsers.ts'
import { keepListOrWarn } from '../reservations/keep-list-or-warn.ts'
import { selfOf } from '../reservations/own-session.ts'

const EXAMPLES = `
Examples:
  s2 reserve src/store/                     nobody else may change what lies beneath, for two hours
  s2 reserve 'src/**/*.sql' docs/plan.md --for 30m --note 'new tables'
  s2 reserve README.md --shared             others may share it, and nobody may have it alone
  s2 reserve src/store/ --task t-17         until that task ends or moves, two hours at most

All of them are reserved, or none where another agent has one: the answer says who, for which task and until when. Paths begin
at this folder; a name without an extension is a folder too. Asked again, a reservation lasts longer. It binds where the hooks
of git are installed (\`s2 hooks install --git\`), and everybody sees it (\`s2 reservations\`).`

interface ReserveOptions {
  readonly shared?: true
  readonly for: number
  readonly task?: string
  readonly repo?: string
  readonly note?: string
  readonly as?: string
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<glob...>', 'files and folders of the repository, with *, ? and **')
    .option('--shared', 'others may share them')
    .addOption(
      new Option('--for <duration>', 'how long, seven days at most')
        .argParser(someTime)
        .default(RESERVED_FOR_MS, formatDuration(RESERVED_FOR_MS)),
    )
    .option('--task <id>', 'they are released when this task ends or moves; by default the task that `s2 work` runs')
    .option('--repo <name>', 'the name of the repository, besides those that its remotes and its first commit give it')
    .option('--note <text>', 'what for; everybody sees it')
    .option('--as <agent>', 'the agent that reserves, or its session, where this host speaks for several')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (globs: string[], options: ReserveOptions) => await reserve(context, globs, options))
}

async function reserve(context: CommandContext, typed: readonly string[], options: ReserveOptions): Promise<void> {
  const here = await repositoryHere(context.folder, context, options.repo)
  const globs = globsHere(typed, here)
  await using reached = await reachFleet(context)
  const self = await selfOf(reached, context, options.as)
  const wanted: NewReservation = {
    repository: here.repository,
    globs,
    mode: options.shared === true ? 'shared' : 'exclusive',
    forMs: options.for,
    ...(await taskOf(context, reached, options)),
    note: options.note ?? null,
  }
  const made = await reached.store.reserveFiles(self.session, wanted)
  await keepListOrWarn(context, reached.store)
  if (options.json === true) context.print(`${JSON.stringify(made, null, 2)}\n`)
  else for (const each of made) context.print(`${plain(reservationInWords(each, context.clock.wall()))}\n`)
}

/** The task that is named at its present epoch, or the one that `s2 work` runs at the epoch at which it began. */
async function taskOf(
  { env }: CommandContext,
  { store }: ReachedFleet,
  { task }: ReserveOptions,
): Promise<Pick<NewReservation, 'task' | 'epoch'>> {
  if (task !== undefined && task !== env.S2_TASK_ID) return { task, epoch: (await store.task(task)).epoch }
  const { S2_TASK_ID: id, S2_TASK_EPOCH: epoch = '' } = env
  if (id === undefined && task === undefined) return { task: null, epoch: null }
  if (id === undefined || !/^\d{1,15}$/.test(epoch)) throw new UsageError('S2_TASK_ID and S2_TASK_EPOCH name no task')
  return { task: id, epoch: Number(epoch) }
}
