import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import { redactedHead } from './redact.ts'
import type { SessionId } from './session-id.ts'
import type { Usage } from './usage.ts'

export const PRIORITIES = ['P0', 'P1', 'P2', 'P3'] as const
export type Priority = (typeof PRIORITIES)[number]

/** pending (nobody holds it) → assigned → accepted → in_progress → one of the three ends. */
export const TASK_STATES = [
  'pending',
  'assigned',
  'accepted',
  'in_progress',
  'completed',
  'failed',
  'cancelled',
] as const
export type TaskState = (typeof TASK_STATES)[number]
export type TaskEnd = 'completed' | 'failed' | 'cancelled'

/** Whether a task has neither ended nor been cancelled. */
export function isOpen(state: TaskState): boolean {
  return state !== 'completed' && state !== 'failed' && state !== 'cancelled'
}

/** Whether an agent holds a lease on it. */
export function isLeased(state: TaskState): boolean {
  return state === 'accepted' || state === 'in_progress'
}

/** How the runs of `s2 work` are called that lease tasks. Whatever else leases one is an agent that took it by hand. */
export const PROGRAM_RUN = 'work-'

/** Whether an agent works at it that took it by its own client, and no `s2 work`; foreign agents name no run. */
export function isHeldByHand({ state, incarnation }: Pick<Task, 'state' | 'incarnation'>): boolean {
  return isLeased(state) && incarnation !== null && !incarnation.startsWith(PROGRAM_RUN)
}

/** Whether an `s2 work` works at it. */
export function isHeldByWorker({ state, incarnation }: Pick<Task, 'state' | 'incarnation'>): boolean {
  return isLeased(state) && incarnation?.startsWith(PROGRAM_RUN) === true
}

/** Whether an agent took it by a client that hooks tell of, and not by a shell or by a program of which nothing is known. */
export function isHeldByClient(task: Pick<Task, 'state' | 'incarnation'>): boolean {
  return isHeldByHand(task) && /^(?!mcp:|shell:)[a-z]+:/.test(task.incarnation ?? '')
}

export interface TaskResult {
  /** Exit code of the command that did it; null where there was none or a signal ended it. */
  readonly exitCode: number | null
  readonly signal: string | null
  /** The last of what it printed. */
  readonly tail: string
}

/** One start of a task. Times are milliseconds since 1970 by the store's wall clock, for people to read. */
export interface Attempt {
  readonly epoch: number
  readonly holder: SessionId
  readonly startedAt: number
  /** How it ended; null while it goes on. */
  readonly end: AttemptEnd | null
  readonly endedAt: number | null
  /** What explains the end, such as the last line of output; empty where nothing does. */
  readonly note: string
  /** What its client used in it; left out where nobody says. */
  readonly usage?: Usage
}

/** Stands for every role, where people name roles. */
export const ANY_ROLE = 'any'

/**
 * Why a holder gives a task back. `not_now`: its command says so again and again, where other work goes well; `client_died`: the
 * client that did it ended without a word on it.
 */
export const RETURN_CAUSES = ['sick', 'parked', 'quick_failure', 'not_now', 'client_died'] as const
export type ReturnCause = (typeof RETURN_CAUSES)[number]

/** `interrupted`: another life of the same agent came after this one. */
export type AttemptEnd = TaskEnd | MoveReason | ReturnCause | EndReason | 'interrupted'

/** A time in which nobody may begin a task. It is over, too, when the clock says that it has not begun yet: then it was put back. */
export interface Pause {
  readonly from: number
  readonly until: number
}

/** A piece of work with one owner. Times are milliseconds since 1970, UTC. */
export interface Task {
  readonly id: string
  readonly description: string
  readonly priority: Priority
  /** The role that should do it; null when any may. */
  readonly role: string | null
  /** Roles that may do it as well as its own. */
  readonly otherRoles: readonly string[]
  readonly state: TaskState
  /** The fencing token: raised by every move and by every takeover; an effect that names a lower one is refused. */
  readonly epoch: number
  /** The session that owns it now; null while pending. */
  readonly holder: SessionId | null
  /** Who had it first, once it has been moved. */
  readonly originalAssignee: SessionId | null
  /** The incarnation of the agent that holds the lease; null before there is one. */
  readonly incarnation: string | null
  /** Raised by every renewal: an observer measures when this changes, and believes no clock of the holder. */
  readonly leaseSeq: number
  /** Rises with every sign of work that its holder sees, such as output or processor time: a renewed lease is none. */
  readonly work: number
  readonly moves: number
  /** Every start of it, the oldest first; the last one is the present one while it has no end. */
  readonly attempts: readonly Attempt[]
  /** Nobody may begin it before this pause is over; null where there is none. */
  readonly pause: Pause | null
  /** The epoch in which its holder was reminded of it; 0 where that never was. */
  readonly reminded: number
  readonly progress: string | null
  readonly result: TaskResult | null
  /** What its holders left for the next one to go on from; left out where none did. */
  readonly checkpoint?: string
  /** What clients used for it in all starts together; left out where none said. */
  readonly usage?: Usage
  readonly deadline: number | null
  /** What happens when the deadline has passed: it fails, or another agent gets it once, for as long again. */
  readonly onDeadline: OnDeadline
  /** What happens when its holder shows no work for twice the time that is told; null: what the watchdog is set to. */
  readonly onStall: OnStall | null
  /** The session that is told what becomes of it; null: the orchestrator's end of its holder's conversation. */
  readonly createdBy: SessionId | null
  readonly createdAt: number
  readonly updatedAt: number
}

export interface NewTask {
  /** Chosen by the sender, so that adding twice is adding once. */
  readonly id: string
  readonly description: string
  readonly priority: Priority
  readonly role: string | null
  readonly holder: SessionId | null
  readonly deadline: number | null
  readonly createdBy: SessionId | null
  readonly otherRoles?: readonly string[]
  readonly onDeadline?: OnDeadline
  readonly onStall?: OnStall | null
}

/** A holder's report on its task: it names (task, epoch), so that a former holder's report has no effect. */
export interface Report {
  readonly task: string
  readonly epoch: number
  /** `returned`: it goes back without an end, for `cause`. */
  readonly state: ReportState
  readonly progress: string | null
  readonly result: TaskResult | null
  /** The signs of work so far in this attempt; left out where nobody looks for them. */
  readonly work?: number
  /** Why it is returned. */
  readonly cause?: ReturnCause
  /** What another would need to go on from here; left out: what was said before still holds. */
  readonly checkpoint?: string
  /** What the client used so far in this start; left out where nobody says. */
  readonly usage?: Usage
}

export const REPORT_STATES = ['in_progress', 'completed', 'failed', 'returned'] as const
export type ReportState = (typeof REPORT_STATES)[number]

export const ON_DEADLINE = ['fail', 'move'] as const
export type OnDeadline = (typeof ON_DEADLINE)[number]

/** `tell`: people only are told; `move`: it is ended and begun again, by another where there is one; `end`: it is ended and has failed. */
export const ON_STALL = ['tell', 'move', 'end'] as const
export type OnStall = (typeof ON_STALL)[number]

/** The watchdog ends a task that nobody will end: compare-and-set on the epoch that it was decided by. */
export interface TaskEnding {
  readonly task: string
  readonly epoch: number
  readonly reason: EndReason
  /** What people are told, with what was tried. */
  readonly words: string
}

export const END_REASONS = ['attempts', 'deadline', 'stalled'] as const
export type EndReason = (typeof END_REASONS)[number]

/** A task's change of owner: compare-and-set on the epoch that it was decided by. */
export interface Move {
  readonly task: string
  readonly epoch: number
  /** null takes it from its holder and leaves it pending. */
  readonly to: SessionId | null
  readonly reason: MoveReason
}

export const MOVE_REASONS = [
  'silent',
  'gone',
  'lease_lapsed',
  'unassigned',
  'conversation_ended',
  'by_hand',
  'not_taken',
  'holder_busy',
  'holder_sick',
  'stalled',
  'deadline',
] as const
export type MoveReason = (typeof MOVE_REASONS)[number]

export const TASK_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
export const DESCRIPTION_MAX = 40_000
/** Other roles that one task may name. */
export const OTHER_ROLES_MAX = 20
/** Characters of a progress line and of a result's tail that are kept. */
export const PROGRESS_MAX = 500
export const TAIL_MAX = 4_000
/** Characters of a checkpoint that are kept. */
export const CHECKPOINT_MAX = 4_000

export function checkTask(task: NewTask): void {
  if (!TASK_ID.test(task.id)) {
    throw new S2Error('invalid', `not a task id: ${JSON.stringify(textHead(task.id, 80))}`, {
      next: 'use up to 64 letters, digits, dots, dashes and underscores',
    })
  }
  if (task.description.length === 0)
    throw new S2Error('invalid', `task ${task.id} has no description`, { next: 'say what is to be done' })
  if (task.description.length > DESCRIPTION_MAX) {
    throw new S2Error(
      'too_large',
      `the description of ${task.id} has more than the ${DESCRIPTION_MAX} characters that are allowed`,
      { next: 'put the long part into a file in git and name its path' },
    )
  }
  if ((task.otherRoles?.length ?? 0) > OTHER_ROLES_MAX)
    throw new S2Error('invalid', `task ${task.id} names more than ${OTHER_ROLES_MAX} other roles`, {
      next: 'name fewer, or let every agent do it: --role any',
    })
}

/** Refuses a second task with an id that is taken by another one: adding twice is adding once, and this is no second time. */
export function checkSameTask(known: Task, wanted: NewTask): void {
  const isSame = known.description === redactedHead(wanted.description, DESCRIPTION_MAX) && known.role === wanted.role
  if (isSame) return
  throw new S2Error('conflict', `there is a task ${known.id} already, and it is another one`, {
    next: 'choose another id, or leave it out',
  })
}

const IS_KEPT = 'stop working on it: it has another owner now; your result is kept as evidence'

/** The refusal of a former holder's report. */
export function staleEpoch(task: Task, named: number, next = IS_KEPT): S2Error {
  return new S2Error('stale_epoch', `task ${task.id} is at epoch ${task.epoch}; you hold epoch ${named}`, { next })
}
