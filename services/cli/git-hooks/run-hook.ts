import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { quoted } from '#console/shell-quote.ts'
import { commandEnv, stateFolder } from '#console/state-folder.ts'
import { ago, plain } from '#console/terminal-text.ts'
import { parseGlob } from '#fleet/path-glob.ts'
import { PathMatcher } from '#fleet/path-matcher.ts'
import {
  COMMIT_PATHS_MAX,
  isSameRepository,
  type Reservation,
  type ReservationMode,
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

/** A file of a commit, and by what reservations others have it: one at least. */
interface Touched {
  readonly path: string
  readonly by: readonly Reservation[]
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
  const binding = others(known, repository, context)
  tellShared(context, touchedBy(paths, binding, 'shared'))
  const taken = touchedBy(paths, binding, 'exclusive')
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
  const taken = touchedBy(paths, others(known, repository, context), 'exclusive')
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

function touchedBy(paths: readonly string[], reservations: readonly Reservation[], mode: ReservationMode): Touched[] {
  const binding = reservations.filter((each) => each.mode === mode)
  if (binding.length === 0) return []
  const matcher = new PathMatcher(binding.map(({ glob }) => parseGlob(glob)))
  const lists = new Map<readonly number[], readonly Reservation[]>() // many files share one
  return paths.flatMap((path) => {
    const meaning = matcher.meaning(path)
    if (meaning.length === 0) return []
    const by = lists.get(meaning) ?? meaning.map((index) => binding[index] as Reservation)
    lists.set(meaning, by)
    return { path, by }
  })
}

/** All by which others have any of these files, each once. */
function reservationsOf(touched: readonly Touched[]): Reservation[] {
  const lists = new Set(touched.map(({ by }) => by))
  const all = new Set<Reservation>()
  for (const list of lists) for (const each of list) all.add(each)
  return [...all]
}

function refuse(context: CommandContext, taken: readonly Touched[], known: Known): never {
  const now = context.clock.wall()
  const lines = taken
    .slice(0, NAMED_MAX)
    .flatMap(({ path, by }) => by.map((each) => `  ${JSON.stringify(path)}: ${reservationInWords(each, now)}`))
    .slice(0, NAMED_MAX)
  const count = taken.reduce((sum, { by }) => sum + by.length, 0)
  const more = count > NAMED_MAX ? [`  and ${count - NAMED_MAX} more`] : []
  const age = known.at === null ? '' : `, by the list of ${ago(now - known.at)} ago (${known.why})`
  const holder = taken[0]?.by[0]?.agent ?? ''
  const told = [
    `s2: nothing was committed: it changes files that another agent has${age}`,
    ...lines,
    ...more,
    `  next: leave these files out (git restore --staged FILE), ask for them (s2 send ${quoted(holder)} 'TEXT'), or wait until then`,
  ]
  context.tell(`${told.map(plain).join('\n')}\n`)
  throw new Exit(EXIT.refused)
}

function tellShared(context: CommandContext, shared: readonly Touched[]): void {
  const told = new Set(reservationsOf(shared).map((by) => reservationInWords(by, context.clock.wall())))
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
  const holding = reservationsOf(taken)
  const unchecked: UncheckedCommit = { repository, commit, paths }
  const now = context.clock.wall()
  const whose = [...new Set(holding.map((by) => reservationInWords(by, now)))].slice(0, NAMED_MAX)
  context.tell(
    `s2: the commit ${commit.slice(0, 12)} was not checked before it was made, and changes files that another agent has\n`,
  )
  for (const each of whose) context.tell(`  ${plain(each)}\n`)
  const answer = await withFleet(context, commitWait(context), async (reached) => {
    const { session } = await selfOf(reached, context)
    return await reached.store.noteUncheckedCommit(session, unchecked)
  })
  const isWaiting = 'why' in answer && (await putIntoOutbox(context, unchecked, holding))
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
