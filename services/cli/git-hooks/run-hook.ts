import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { quoted } from '#console/shell-quote.ts'
import { commandEnv, stateFolder } from '#console/state-folder.ts'
import { ago, plain } from '#console/terminal-text.ts'
import { literalPath, overlap, parseGlob } from '#fleet/path-glob.ts'
import {
  COMMIT_PATHS_MAX,
  isSameRepository,
  type Reservation,
  reservationInWords,
  type UncheckedCommit,
  uncheckedInWords,
} from '#fleet/reservation.ts'
import { Checkout } from '#git/checkout.ts'
import { repositoryNames } from '#git/repository-names.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { readCredentials } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import { selfOf } from '../reservations/own-session.ts'
import { filesOfCommit, lastCommit, type MadeCommit, stagedFiles, stagedTree } from './changed-files.ts'
import { markChecked, takeMark } from './check-mark.ts'
import { type Known, knownReservations, withFleet } from './known-reservations.ts'

/** How much longer the whole check may take than the wait for the fleet within it. */
const CHECK_FACTOR = 2
/** How many files a refusal names. */
const NAMED_MAX = 10

/** A file of a commit, and who has it. */
interface Touched {
  readonly path: string
  readonly by: Reservation
}

/**
 * Refuses (`Exit`) a commit that changes files which another agent has alone. Whatever keeps it from knowing is told, and the
 * commit is made: a check that does not work must keep nobody from working.
 */
export async function checkBeforeCommit(context: CommandContext): Promise<void> {
  const checkout = await Checkout.at(context.folder, context)
  const waitMs = commitWait(context)
  const looking = Promise.all([knownReservations(context, waitMs), repositoryNames(checkout), stagedFiles(checkout)])
  const found = await waitAtMost(looking, CHECK_FACTOR * waitMs, context.clock)
  const why = found === LATE ? 'it took too long' : decide(context, found)
  if (why !== null) tellUnknown(context, why)
  markChecked(checkout, await stagedTree(checkout), context.clock.wall())
}

/** Throws `Exit` for a commit that is refused. Answers why nobody can say; null: the commit was checked. */
function decide(
  context: CommandContext,
  [known, repository, paths]: readonly [Known | { readonly why: string }, readonly string[], readonly string[]],
): string | null {
  if (!('reservations' in known)) return known.why
  const touched = touchedBy(paths, others(known, repository, context))
  tellShared(context, touched)
  const taken = touched.filter(({ by }) => by.mode === 'exclusive')
  if (taken.length > 0) refuse(context, taken, known)
  if (known.at !== null) tellAge(context, known, known.at)
  return null
}

/** Finds out whether the commit that was just made came past the check, and tells whose files it changes. */
export async function lookAfterCommit(context: CommandContext): Promise<void> {
  const checkout = await Checkout.at(context.folder, context)
  const made = await lastCommit(checkout)
  if (takeMark(checkout, made.tree, context.clock.wall())) return
  const waitMs = commitWait(context)
  const looking = Promise.all([
    knownReservations(context, waitMs),
    repositoryNames(checkout),
    filesOfCommit(checkout, made),
  ])
  const found = await waitAtMost(looking, CHECK_FACTOR * waitMs, context.clock)
  if (found === LATE || !('reservations' in found[0])) return // nothing is known that could be told
  const [known, repository, paths] = found
  const taken = touchedBy(paths, others(known, repository, context)).filter(({ by }) => by.mode === 'exclusive')
  if (taken.length > 0) await tellUnchecked(context, made, repository, taken)
}

export function commitWait(context: CommandContext): number {
  return readSettings(commandEnv(context), ['S2_COMMIT_WAIT']).S2_COMMIT_WAIT
}

/** Those that bind here: of this repository, of other agents, and not over. */
function others(known: Known, repository: readonly string[], { clock }: CommandContext): Reservation[] {
  return known.reservations.filter(
    (each) => !known.own.has(each.agent) && each.until > clock.wall() && isSameRepository(each.repository, repository),
  )
}

function touchedBy(paths: readonly string[], reservations: readonly Reservation[]): Touched[] {
  if (reservations.length === 0) return []
  const parsed = reservations.map((by) => ({ by, glob: parseGlob(by.glob) }))
  return paths.flatMap((path) => {
    const literal = literalPath(path)
    return parsed.filter(({ glob }) => overlap(literal, glob)).map(({ by }) => ({ path, by }))
  })
}

function refuse(context: CommandContext, taken: readonly Touched[], known: Known): never {
  const now = context.clock.wall()
  const lines = taken
    .slice(0, NAMED_MAX)
    .map(({ path, by }) => `  ${JSON.stringify(path)}: ${reservationInWords(by, now)}`)
  const more = taken.length > NAMED_MAX ? [`  and ${taken.length - NAMED_MAX} more`] : []
  const age = known.at === null ? '' : `, by the list of ${ago(now - known.at)} ago (${known.why})`
  const [holder = ''] = taken.map(({ by }) => by.agent)
  const told = [
    `s2: nothing was committed: it changes files that another agent has${age}`,
    ...lines,
    ...more,
    `  next: leave these files out (git restore --staged FILE), ask for them (s2 send ${quoted(holder)} 'TEXT'), or wait until then`,
  ]
  context.tell(`${told.map(plain).join('\n')}\n`)
  throw new Exit(EXIT.refused)
}

function tellShared(context: CommandContext, touched: readonly Touched[]): void {
  const shared = touched.filter(({ by }) => by.mode === 'shared')
  const told = new Set(shared.map(({ by }) => reservationInWords(by, context.clock.wall())))
  for (const each of [...told].slice(0, NAMED_MAX))
    context.tell(`s2: ${plain(each)}: it may change the same files now\n`)
}

function tellAge(context: CommandContext, { why }: Known, at: number): void {
  context.tell(
    `s2: this commit was checked by the list of ${ago(context.clock.wall() - at)} ago: ${plain(why ?? '')}\n`,
  )
}

function tellUnknown(context: CommandContext, why: string): void {
  context.tell(`s2: this commit was not checked against the files that others reserved: ${plain(why)}\n`)
}

async function tellUnchecked(
  context: CommandContext,
  { commit }: MadeCommit,
  repository: readonly string[],
  taken: readonly Touched[],
): Promise<void> {
  const paths = [...new Set(taken.map(({ path }) => path))].slice(0, COMMIT_PATHS_MAX)
  const unchecked: UncheckedCommit = { repository, commit, paths }
  const now = context.clock.wall()
  const whose = [...new Set(taken.map(({ by }) => reservationInWords(by, now)))].slice(0, NAMED_MAX)
  context.tell(
    `s2: the commit ${commit.slice(0, 12)} was not checked before it was made, and changes files that another agent has\n`,
  )
  for (const each of whose) context.tell(`  ${plain(each)}\n`)
  const answer = await withFleet(context, commitWait(context), async (reached) => {
    const { session } = await selfOf(reached, context)
    return await reached.store.noteUncheckedCommit(session, unchecked)
  })
  const isWaiting =
    'why' in answer &&
    (await putIntoOutbox(
      context,
      unchecked,
      taken.map(({ by }) => by),
    ))
  context.tell(plain(howTold(answer, isWaiting)))
}

function howTold(answer: object, isWaiting: boolean): string {
  if (!('why' in answer)) return '  its holder and the orchestrator are told; talk to them before you go on\n'
  if (isWaiting) return '  its holder and the orchestrator are told as soon as the bridge can be reached\n'
  return `  next: tell its holder: S2 could not (${answer.why})\n`
}

/** What cannot be said now waits with the messages of this host. Answers whether it does. */
async function putIntoOutbox(
  context: CommandContext,
  commit: UncheckedCommit,
  taken: readonly Reservation[],
): Promise<boolean> {
  const state = stateFolder(context)
  const { credentials } = await readCredentials(state)
  const self = credentials.find(({ session }) => session === context.env.S2_TASK_SESSION) ?? credentials[0]
  if (self === undefined) return false
  const outbox = new Outbox(state)
  const draft = { text: uncheckedInWords(self.agent, commit, taken), action: 'unchecked_commit' }
  const from = self.session
  try {
    await outbox.put({ kind: 'send', from, draft })
    for (const agent of new Set(taken.map((each) => each.agent)))
      await outbox.put({ kind: 'post', from, to: { agent }, draft })
    return true
  } catch {
    return false
  }
}
