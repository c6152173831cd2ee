import { redactedHead } from './redact.ts'
import type { SessionId } from './session-id.ts'
import type { Attempt, AttemptEnd, Task } from './task.ts'
import { addUsage, cleanUsage, NO_USAGE, type Usage, usageBeyond } from './usage.ts'

/**
 * The starts of a task. Each one counts, whatever ends it, so that a task that ruins its workers is not started for ever:
 * pauses that double lie between them, and after the last one that is allowed the task has failed. Only a start that ended for a
 * fault of the place counts for nothing: no folder, no program, a usage limit are not the task's fault. One that its own command
 * gives back where other work goes well counts for nothing either, but it waits longer each time.
 */

/** Characters of a note that are kept. */
const NOTE_MAX = 300
/** Attempts that are remembered of one task. Those that do not count are forgotten first. */
const REMEMBERED_MAX = 60
/** Before the second attempt there is no pause: most interruptions are a restart. Before the third there is this one, milliseconds. */
const PAUSE_FIRST_MS = 5_000
const PAUSE_MAX_MS = 600_000
/** The same where its command says "not now". */
const NOT_NOW_FIRST_MS = 60_000
const NOT_NOW_MAX_MS = 1_800_000

/** Whether an attempt uses up the task's budget. */
function counts({ end }: Attempt): boolean {
  return end !== 'sick' && end !== 'parked' && end !== 'not_now'
}

/** How many of the starts use up the budget; the one that goes on is among them. */
export function countedAttempts({ attempts }: Pick<Task, 'attempts'>): number {
  return attempts.filter(counts).length
}

/** The start that goes on; null where none does. */
export function presentAttempt({ attempts }: Pick<Task, 'attempts'>): Attempt | null {
  const last = attempts.at(-1)
  return last !== undefined && last.end === null ? last : null
}

/** The last start that ended; null where none did. */
export function lastEnded({ attempts }: Pick<Task, 'attempts'>): Attempt | null {
  return attempts.findLast(({ end }) => end !== null) ?? null
}

/** Whether the task has to wait before it may begin again. */
export function isPaused({ pause }: Pick<Task, 'pause'>, now: number): boolean {
  return pause !== null && pause.from <= now && now < pause.until
}

export function withStart(task: Task, holder: SessionId, now: number): readonly Attempt[] {
  const attempt: Attempt = { epoch: task.epoch, holder, startedAt: now, end: null, endedAt: null, note: '' }
  return remembered([...task.attempts, attempt])
}

/**
 * The task with what its present start used so far, as its holder says; the starts make up the task's. A report that comes late, or
 * of a client that counts anew, takes nothing back.
 */
export function withUsage(task: Task, usage: Usage | undefined): Task {
  const present = presentAttempt(task)
  if (usage === undefined || present === null) return task
  const more = usageBeyond(usage, present.usage ?? NO_USAGE)
  const used = { ...present, usage: addUsage(present.usage ?? NO_USAGE, more) }
  const all = cleanUsage(addUsage(task.usage ?? NO_USAGE, more))
  return { ...task, attempts: [...task.attempts.slice(0, -1), used], usage: all }
}

/** The attempts, and the pause that follows, once the present one has ended; unchanged where none goes on. */
export function withEnd(
  task: Task,
  end: AttemptEnd,
  note: string | null,
  now: number,
): Pick<Task, 'attempts' | 'pause'> {
  const present = presentAttempt(task)
  if (present === null) return { attempts: task.attempts, pause: task.pause }
  const ended: Attempt = { ...present, end, endedAt: now, note: redactedHead(lastLine(note ?? ''), NOTE_MAX) }
  const attempts = [...task.attempts.slice(0, -1), ended]
  const pauseMs =
    end === 'not_now' ? notNowPause(attempts) : counts(ended) ? pauseAfter(countedAttempts({ attempts })) : 0
  return { attempts, pause: pauseMs === 0 ? null : { from: now, until: now + pauseMs } }
}

/** The pause before the next start, milliseconds: it doubles with each that counted. */
function pauseAfter(counted: number): number {
  return counted < 2 ? 0 : Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (counted - 2))
}

function notNowPause(attempts: readonly Attempt[]): number {
  return Math.min(NOT_NOW_MAX_MS, NOT_NOW_FIRST_MS * 2 ** (attempts.filter(isNotNow).length - 1))
}

function isNotNow({ end }: Attempt): boolean {
  return end === 'not_now'
}

/** The last start that its command gave back where other work goes well; null where none was. */
export function lastNotNow({ attempts }: Pick<Task, 'attempts'>): Attempt | null {
  return attempts.findLast(isNotNow) ?? null
}

function remembered(attempts: readonly Attempt[]): readonly Attempt[] {
  if (attempts.length <= REMEMBERED_MAX) return attempts
  const forgotten = Math.max(
    0,
    attempts.findIndex((each) => !counts(each)),
  )
  return attempts.filter((_, index) => index !== forgotten)
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1)?.trim() ?? ''
}

/** What was tried, one line a start, for people. */
export function attemptsInWords(
  { attempts }: Pick<Task, 'attempts'>,
  nameOf: (session: SessionId) => string,
): string[] {
  return attempts.map(({ holder, end, note, startedAt }, index) => {
    const how = end === null ? 'goes on' : ENDS[end]
    const at = new Date(startedAt).toISOString().slice(0, 19)
    return `${index + 1}. ${nameOf(holder)}, ${at}Z: ${how}${note === '' ? '' : `: ${note}`}`
  })
}

const ENDS: Readonly<Record<AttemptEnd, string>> = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'withdrawn',
  silent: 'its agent was not heard any more',
  gone: 'what its agent ran in ended',
  lease_lapsed: 'its agent did not renew the lease',
  unassigned: 'nobody had it',
  conversation_ended: 'its conversation ended',
  by_hand: 'moved by hand',
  not_taken: 'not taken',
  holder_busy: 'its agent was busy',
  holder_sick: 'its agent could not work',
  stalled: 'no sign of work',
  deadline: 'its deadline passed',
  sick: 'given back: the place could not do it',
  parked: 'given back: the agent may not work now',
  quick_failure: 'failed within seconds',
  not_now: 'given back: its command says that it cannot be done now',
  client_died: 'given back: its client ended without a word on it',
  interrupted: 'the worker ended in the middle of it',
  attempts: 'too many attempts',
}
