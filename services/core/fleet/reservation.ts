import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import { GLOB_MAX, overlap, type PathGlob, parseGlob } from './path-glob.ts'
import { redact, redactedHead } from './redact.ts'
import type { SessionId } from './session-id.ts'
import { isOpen, type Task } from './task.ts'

/** `exclusive`: nobody else may change these files. `shared`: others may share them, and nobody may have them alone. */
export const RESERVATION_MODES = ['exclusive', 'shared'] as const
export type ReservationMode = (typeof RESERVATION_MODES)[number]

/** Files of a repository that an agent has for a time. Times are milliseconds since 1970 by the store's clock. */
export interface Reservation {
  readonly agent: string
  /**
   * What the repository is called, the telling name first. Clones on different hosts know different names of it: they mean one
   * repository where they have one name in common.
   */
  readonly repository: readonly string[]
  readonly glob: string
  readonly mode: ReservationMode
  /** The task that it is for, at the epoch at which it was made: it ends with that. Null: it ends at its time alone. */
  readonly task: string | null
  readonly epoch: number | null
  readonly note: string | null
  readonly since: number
  readonly until: number
}

/** A reservation as it is kept: by its session, because agents are renamed. */
export interface KeptReservation extends Omit<Reservation, 'agent'> {
  readonly holder: SessionId
}

export interface NewReservation {
  readonly repository: readonly string[]
  readonly globs: readonly string[]
  readonly mode: ReservationMode
  /** How long from now, milliseconds. */
  readonly forMs: number
  readonly task: string | null
  readonly epoch: number | null
  readonly note: string | null
}

/** Which reservations of a holder are meant; null: all. */
export interface ReservationChoice {
  readonly repository: readonly string[] | null
  readonly globs: readonly string[] | null
}

/** A commit that was made without the check that its hook makes. */
export interface UncheckedCommit {
  readonly repository: readonly string[]
  /** Its id. */
  readonly commit: string
  /** Files that it changes. */
  readonly paths: readonly string[]
}

export const REPOSITORY_NAMES_MAX = 8
export const REPOSITORY_NAME_MAX = 200
/** Globs of one request. */
export const GLOBS_MAX = 50
/** Reservations of one agent, and of the whole fleet. */
export const HELD_MAX = 200
export const HELD_BY_ALL_MAX = 2_000
/** How long files are reserved where nobody says. */
export const RESERVED_FOR_MS = 7_200_000
const RESERVED_LEAST_MS = 1_000
const RESERVED_MOST_MS = 7 * 86_400_000
export const COMMIT_PATHS_MAX = 200
const COMMIT_PATH_MAX = 1_000
const NOTE_MAX = 200

/** A request as it is kept: names and globs in one form, each once. Throws `invalid` or `too_large`. */
export function cleanReservation(wanted: NewReservation): NewReservation & { readonly parsed: readonly PathGlob[] } {
  const { globs, forMs, task, epoch, note } = wanted
  if (globs.length === 0) throw new S2Error('invalid', 'no files are named', { next: 'name them, as src/store/' })
  if (globs.length > GLOBS_MAX) throw tooMany(`${GLOBS_MAX} globs are reserved at once`)
  if (!(forMs >= RESERVED_LEAST_MS && forMs <= RESERVED_MOST_MS)) {
    throw new S2Error('invalid', 'files are reserved for a second at least and for seven days at most', {
      next: 'name a time such as 2h; asking again makes it longer',
    })
  }
  const secret = globs.find((glob) => redact(glob) !== glob)
  if (secret !== undefined) {
    throw new S2Error('invalid', `what looks like a secret is no glob: ${redact(secret.slice(0, GLOB_MAX))}`, {
      next: 'name the folder that holds the file',
    })
  }
  if ((task === null) !== (epoch === null))
    throw new S2Error('invalid', 'no files were reserved: a task is named with its epoch, or not at all', {
      next: 'name both, as `s2 task show` tells them, or neither',
    })
  const parsed = [...new Map(globs.map(parseGlob).map((glob) => [glob.text, glob])).values()]
  const repository = cleanRepository(wanted.repository)
  const kept = note === null || note.trim() === '' ? null : redactedHead(note.trim(), NOTE_MAX)
  return { ...wanted, repository, globs: parsed.map(({ text }) => text), note: kept, parsed }
}

/** Names in one form, each once: hosts are called alike in small and capital letters, and many of them call paths so. */
export function cleanRepository(names: readonly string[]): string[] {
  const clean = [...new Set(names.map((name) => name.trim().toLowerCase()))]
  const isSound = clean.every((name) => /^[^\p{C}]+$/u.test(name) && name.length <= REPOSITORY_NAME_MAX)
  if (clean.length > 0 && clean.length <= REPOSITORY_NAMES_MAX && isSound) return clean
  throw new S2Error('invalid', 'the repository has no name that can be used', {
    next: `give it a line of at most ${REPOSITORY_NAME_MAX} characters, by --repo or by git config s2.repo`,
  })
}

/** Whether two repositories are one, as far as their names say. */
export function isSameRepository(one: readonly string[], other: readonly string[]): boolean {
  return one.some((name) => other.includes(name))
}

/** Those that keep a holder from having these files as it wants them. `others` are of other agents. */
export function conflicts<R extends Pick<Reservation, 'repository' | 'glob' | 'mode'>>(
  wanted: Pick<Reservation, 'repository' | 'mode'> & { readonly parsed: readonly PathGlob[] },
  others: readonly R[],
): R[] {
  return others.filter(
    ({ repository, glob, mode }) =>
      (wanted.mode === 'exclusive' || mode === 'exclusive') &&
      isSameRepository(wanted.repository, repository) &&
      touches(wanted.parsed, glob),
  )
}

/** Whether any of these means a file that the glob means too. */
function touches(paths: readonly PathGlob[], glob: string): boolean {
  const parsed = parseGlob(glob)
  return paths.some((path) => overlap(path, parsed))
}

/** Why a reservation is over; null while it holds. `task` is what the store has of its task. */
export function whyOver(
  { until, task: id, epoch }: Pick<KeptReservation, 'until' | 'task' | 'epoch'>,
  { now, isHolderLive, task }: { readonly now: number; readonly isHolderLive: boolean; readonly task: Task | null },
): 'expired' | 'holder_gone' | 'task_over' | 'task_moved' | null {
  if (until <= now) return 'expired'
  if (!isHolderLive) return 'holder_gone'
  if (id === null) return null
  if (task === null || !isOpen(task.state)) return 'task_over'
  return task.epoch === epoch ? null : 'task_moved'
}

/** Refuses a reservation for a task that its holder does not have at that epoch: `stale_epoch`. */
export function demandTask(holder: SessionId, { task: id, epoch }: NewReservation, task: Task | null): void {
  if (id === null) return
  if (task !== null && isOpen(task.state) && task.holder === holder && task.epoch === epoch) return
  throw new S2Error(
    'stale_epoch',
    `no files were reserved: ${holder} does not have the task ${textHead(id, 64)} at epoch ${epoch}`,
    {
      next: 'ask which tasks are yours, and reserve for one of those, or for none',
    },
  )
}

/** What is wanted again: the same agent, files and repository. It lasts as long as the longer of the two. */
export function renewed(before: KeptReservation | undefined, next: KeptReservation): KeptReservation {
  if (before === undefined) return next
  return { ...next, since: before.since, until: Math.max(before.until, next.until) }
}

/** The refusal that names who has the files. `now` and `until` are of one clock. */
export function reservedByOthers(found: readonly Reservation[], now: number): S2Error {
  const named = found.slice(0, NAMED_MAX).map((each) => reservationInWords(each, now))
  const more = found.length > NAMED_MAX ? `; and ${found.length - NAMED_MAX} more` : ''
  return new S2Error('conflict', `no files were reserved: ${named.join('; ')}${more}`, {
    next: 'work on other files, ask the holder to release them, or try again after that time',
  })
}

const NAMED_MAX = 5

/** Who has what, for which task, until when. */
export function reservationInWords({ agent, glob, mode, task, until, note }: Reservation, now: number): string {
  const what = mode === 'exclusive' ? 'has' : 'shares'
  const forTask = task === null ? '' : ` for the task ${task}`
  const why = note === null ? '' : ` (${JSON.stringify(note)})`
  const time = `${new Date(until).toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return `${agent} ${what} ${JSON.stringify(glob)}${forTask} until ${time}, ${minutesInWords(until - now)} from now${why}`
}

function minutesInWords(ms: number): string {
  const minutes = Math.max(1, Math.ceil(ms / 60_000))
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}

export function tooMany(most: string): S2Error {
  return new S2Error('too_large', `at most ${most}`, {
    next: 'name folders instead of files, or release what is not needed any more',
  })
}

/** A commit as it is told of: bounded. Throws `invalid`. */
export function cleanCommit({ repository, commit, paths }: UncheckedCommit): UncheckedCommit {
  if (!/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(commit)) {
    throw new S2Error('invalid', `${JSON.stringify(textHead(commit, 80))} is no id of a commit`, {
      next: 'name it by all of its 40 or 64 hexadecimal digits, as `git rev-parse HEAD` prints them',
    })
  }
  return {
    repository: cleanRepository(repository),
    commit,
    paths: paths.slice(0, COMMIT_PATHS_MAX).map((path) => textHead(path, COMMIT_PATH_MAX)),
  }
}

/**
 * What the holder of files is told of a commit that changed them. Whoever reports it may call it and its files as it likes, so that it
 * is called as its holder does.
 */
export function uncheckedInWords(
  by: string,
  { repository, commit, paths }: UncheckedCommit,
  found: readonly Reservation[],
): string {
  const name = found.flatMap((each) => each.repository).find((each) => repository.includes(each)) ?? ''
  const globs = [...new Set(found.map(({ glob }) => JSON.stringify(glob)))].slice(0, NAMED_MAX).join(', ')
  const files = paths.slice(0, NAMED_MAX).map((path) => JSON.stringify(textHead(path, 200)))
  const more = paths.length > NAMED_MAX ? ` and ${paths.length - NAMED_MAX} more` : ''
  const holders = [...new Set(found.map(({ agent }) => agent))].join(', ')
  return (
    `${by} made the commit ${commit.slice(0, 12)} in ${JSON.stringify(name)} past the check of reserved files (--no-verify, or a rebase, ` +
    `cherry-pick or the like). It changes ${files.join(', ')}${more}, and ${holders} has ${globs}. ` +
    'Compare the two before either goes on.'
  )
}
