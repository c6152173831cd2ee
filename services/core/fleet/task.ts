import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import type { SessionId } from './session-id.ts'

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

export interface TaskResult {
  /** Exit code of the command that did it; null where there was none or a signal ended it. */
  readonly exitCode: number | null
  readonly signal: string | null
  /** The last of what it printed. */
  readonly tail: string
}

/** A piece of work with one owner. Times are milliseconds since 1970, UTC. */
export interface Task {
  readonly id: string
  readonly description: string
  readonly priority: Priority
  /** The role that should do it; null when any may. */
  readonly role: string | null
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
  readonly moves: number
  readonly progress: string | null
  readonly result: TaskResult | null
  readonly deadline: number | null
  /** The session that is told what becomes of it. */
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
}

/** A holder's report on its task: it names (task, epoch), so that a former holder's report has no effect. */
export interface Report {
  readonly task: string
  readonly epoch: number
  readonly state: 'in_progress' | 'completed' | 'failed'
  readonly progress: string | null
  readonly result: TaskResult | null
}

/** A task's change of owner: compare-and-set on the epoch that it was decided by. */
export interface Move {
  readonly task: string
  readonly epoch: number
  /** null takes it from its holder and leaves it pending. */
  readonly to: SessionId | null
  readonly reason: MoveReason
}

export const MOVE_REASONS = ['silent', 'gone', 'lease_lapsed', 'unassigned', 'conversation_ended', 'by_hand'] as const
export type MoveReason = (typeof MOVE_REASONS)[number]

export const TASK_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
export const DESCRIPTION_MAX = 40_000
/** Characters of a progress line and of a result's tail that are kept. */
export const PROGRESS_MAX = 500
export const TAIL_MAX = 4_000

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
      `the description of ${task.id} has ${task.description.length} characters; ${DESCRIPTION_MAX} are allowed`,
      { next: 'put the long part into a file in git and name its path' },
    )
  }
}

/** The refusal of a former holder's report. */
export function staleEpoch(task: Task, named: number): S2Error {
  return new S2Error('stale_epoch', `task ${task.id} is at epoch ${task.epoch}; you hold epoch ${named}`, {
    next: 'stop working on it: it has another owner now; your result is kept as evidence',
  })
}
