import type { AuditedAct } from './audit.ts'
import { textTail } from './cut-text.ts'
import type { S2Error } from './errors.ts'
import type { NewIncident } from './incident.ts'
import { conversationOf, partnerOf, type SessionId } from './session-id.ts'
import type { Report, Task, TaskEnd, TaskResult } from './task.ts'
import { type AddressedTaskMessage, cutSummary } from './task-messages.ts'

/**
 * What a rule answers. What is refused changes no task; it may leave evidence all the same, so a store commits that first
 * and throws then. `messages` go into conversations that live; others have no readers and are left out.
 */
export type OwnershipDecision = Step | Refusal

export interface Step {
  readonly refusal: null
  /** The task as it is now; the very same object when nothing changed. */
  readonly task: Task
  readonly messages: readonly AddressedTaskMessage[]
  /** For the audit chain; null where nothing happened that is worth an entry. */
  readonly act: AuditedAct | null
  /** People are told of a task that failed. */
  readonly failure?: TaskFailure
}

export interface TaskFailure {
  readonly task: string
  readonly epoch: number
  readonly kind: 'task_failed' | 'task_exhausted'
  readonly holder: SessionId | null
  /** What it says of its end; null where it says nothing. */
  readonly why: string | null
}

/** The incident of a failed task; `agent` is the name of whoever had it. Each failure is a cause of its own. */
export function failureIncident({ task, epoch, kind, why }: TaskFailure, agent: string | null): NewIncident {
  const where = agent === null ? '' : ` at ${agent}`
  const summary = `task ${task} failed${where}${why === null ? '' : `: ${why}`}; s2 task show ${task} says more`
  return { cause: `${kind}:${task}@${epoch}`, kind, agent, summary }
}

export interface Refusal {
  readonly refusal: S2Error
  /** What came too late and is kept; null where there is nothing to keep. */
  readonly evidence: { readonly task: string; readonly holder: SessionId; readonly report: Report } | null
  readonly act: AuditedAct | null
}

/** Without messages into the conversation of `from`: both its ends have the one that this comes from. */
export function silently<T extends OwnershipDecision>(from: SessionId, decision: T): T {
  if (decision.refusal !== null) return decision
  const own = conversationOf(from)
  return { ...decision, messages: decision.messages.filter(({ to }) => conversationOf(to) !== own) }
}

/** Who is told what becomes of a task: whoever gave it, else the orchestrator of whoever had it last. */
export function giverOf({ createdBy, holder, originalAssignee, attempts }: Task): SessionId | null {
  const worker = holder ?? attempts.at(-1)?.holder ?? originalAssignee
  return createdBy ?? (worker === null ? null : partnerOf(worker))
}

export function endNotice(task: Task, status: TaskEnd): AddressedTaskMessage[] {
  const to = giverOf(task)
  if (to === null) return []
  const { id, epoch, result } = task
  const summary = result === null ? null : endInWords(result)
  return [{ to, taskMessage: { type: 'status_update', task: id, epoch, status, summary } }]
}

function endInWords(result: TaskResult): string | null {
  const words = [howItEnded(result), result.tail.trim()].filter((each) => each !== '')
  return words.length === 0 ? null : cutSummary(words.join(': '))
}

/** Characters of its last lines that people are told of a failure; s2 task show has all of them. */
const LAST_LINES_MAX = 400

/** How it failed, with its last lines, in one line; null where it says nothing. */
export function failureInWords(result: TaskResult): string | null {
  const line = result.tail.replace(/\s+/g, ' ').trim()
  const last = line.length > LAST_LINES_MAX ? `…${textTail(line, LAST_LINES_MAX - 1)}` : line
  const words = [howItEnded(result), last].filter((each) => each !== '')
  return words.length === 0 ? null : words.join(': ')
}

function howItEnded({ exitCode, signal }: TaskResult): string {
  return signal !== null ? `ended by ${signal}` : exitCode !== null ? `exit code ${exitCode}` : ''
}

/** The new holder is told what is left of the time until the deadline; the store, who knows names, says who had it first. */
export function assignment(task: Task, to: SessionId): AddressedTaskMessage {
  const { id, epoch, description, priority, role, deadline, checkpoint, updatedAt: now } = task
  const timeoutMs = deadline === null || deadline <= now ? null : deadline - now
  return {
    to,
    taskMessage: {
      type: 'task_assignment',
      task: id,
      epoch,
      description,
      priority,
      role,
      originalAssignee: null,
      timeoutMs,
      ...(checkpoint === undefined ? {} : { checkpoint }),
    },
  }
}

export function revocation({ id, epoch }: Task, to: SessionId, reason: string): AddressedTaskMessage {
  return { to, taskMessage: { type: 'task_revoked', task: id, epoch, reason } }
}
