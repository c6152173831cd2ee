import type { AuditedAct } from './audit.ts'
import { S2Error } from './errors.ts'
import { redactedHead, redactedTail } from './redact.ts'
import { partnerOf, type SessionId, sideOf } from './session-id.ts'
import {
  DESCRIPTION_MAX,
  isLeased,
  isOpen,
  type Move,
  type NewTask,
  PRIORITIES,
  PROGRESS_MAX,
  type Report,
  staleEpoch,
  TAIL_MAX,
  type Task,
  type TaskEnd,
  type TaskResult,
} from './task.ts'
import {
  type AddressedTaskMessage,
  cutSummary,
  reasonInWords,
  type Status,
  statusOfWord,
  type TaskMessage,
} from './task-messages.ts'

/**
 * Who owns a task, and what becomes of it: the rules that every store keeps. A store reads the task, applies the rule, and
 * writes what it answers, all in one transaction. Times are milliseconds since 1970 by the store's wall clock.
 */

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
}

export interface Refusal {
  readonly refusal: S2Error
  /** What came too late and is kept; null where there is nothing to keep. */
  readonly evidence: { readonly task: string; readonly holder: SessionId; readonly report: Report } | null
  readonly act: AuditedAct | null
}

/** Late reports that are kept of one task and holder; a former holder that repeats itself for ever must not fill the store. */
export const EVIDENCE_MAX = 100

/** What whoever neither holds nor held a task is told of it, and whoever names one that is none: the two read the same. */
export function unknownTask(id: string): S2Error {
  return new S2Error('not_found', `there is no task ${JSON.stringify(id.slice(0, 80))}`, {
    next: 'list them: s2 task list',
  })
}

/** Refuses a session that no task may be held by. */
export function checkHolder(holder: SessionId): void {
  if (sideOf(holder) === 'b') return
  throw new S2Error('invalid', `${holder} gives work and takes none`, {
    next: `name the worker’s end of the conversation: ${partnerOf(holder)}`,
  })
}

/** A task as it begins, with the message that assigns it where it has a holder. */
export function beginTask(wanted: NewTask, now: number): Step {
  const { id, priority, role, holder, deadline, createdBy } = wanted
  const task: Task = {
    id,
    description: redactedHead(wanted.description, DESCRIPTION_MAX),
    priority,
    role,
    state: holder === null ? 'pending' : 'assigned',
    epoch: 1,
    holder,
    originalAssignee: null,
    incarnation: null,
    leaseSeq: 0,
    moves: 0,
    progress: null,
    result: null,
    deadline,
    createdBy,
    createdAt: now,
    updatedAt: now,
  }
  const act = { actor: createdBy ?? 'admin', action: 'task_added', details: { task: id, priority, role, holder } }
  return { refusal: null, task, messages: holder === null ? [] : [assignment(task, holder)], act }
}

/** Which of these tasks an incarnation of a holder should lease next: the most urgent that it does not have yet. */
export function nextToLease(tasks: Iterable<Task>, holder: SessionId, incarnation: string): Task | null {
  let best: Task | null = null
  for (const task of tasks) {
    if (task.holder !== holder || !isOpen(task.state) || isLeasedBy(task, incarnation)) continue
    if (best === null || compareUrgency(task, best) < 0) best = task
  }
  return best
}

function isLeasedBy(task: Task, incarnation: string): boolean {
  return isLeased(task.state) && task.incarnation === incarnation
}

/** Below zero when `x` should be done before `y`. */
function compareUrgency(x: Task, y: Task): number {
  return (
    PRIORITIES.indexOf(x.priority) - PRIORITIES.indexOf(y.priority) ||
    x.createdAt - y.createdAt ||
    (x.id < y.id ? -1 : 1)
  )
}

/** A holder's incarnation leases a task that it owns. What another one had leased is taken over with a new epoch. */
export function applyLease(task: Task, incarnation: string, now: number): Step {
  const takesOver = isLeased(task.state)
  const next: Task = {
    ...task,
    state: 'accepted',
    epoch: takesOver ? task.epoch + 1 : task.epoch,
    incarnation,
    leaseSeq: task.leaseSeq + 1,
    updatedAt: now,
  }
  const action = takesOver ? 'task_taken_over' : 'task_leased'
  const act = { actor: task.holder ?? 'admin', action, details: { task: task.id, epoch: next.epoch, incarnation } }
  return { refusal: null, task: next, messages: [], act }
}

/** A report about a task. Only the holder's at the present epoch counts; any other is refused and kept as evidence. */
export function applyReport(task: Task, holder: SessionId, report: Report, now: number): OwnershipDecision {
  const clean = cleanReport(report)
  if (task.holder !== holder || task.epoch !== clean.epoch) return refuseLate(task, holder, clean)
  if (isOpen(task.state))
    return clean.state === 'in_progress' ? renew(task, holder, clean, now) : end(task, holder, clean.state, clean, now)
  if (clean.state === task.state) return { refusal: null, task, messages: [], act: null }
  return refuseEnded(task, holder, clean)
}

function renew(task: Task, holder: SessionId, { progress }: Report, now: number): Step {
  const next: Task = {
    ...task,
    state: 'in_progress',
    leaseSeq: task.leaseSeq + 1,
    progress: progress ?? task.progress,
    updatedAt: now,
  }
  const act = { actor: holder, action: 'task_started', details: { task: task.id, epoch: task.epoch } }
  return { refusal: null, task: next, messages: [], act: task.state === 'in_progress' ? null : act }
}

function end(
  task: Task,
  holder: SessionId,
  state: Exclude<TaskEnd, 'cancelled'>,
  { progress, result }: Report,
  now: number,
): Step {
  const next: Task = { ...task, state, progress: progress ?? task.progress, result, updatedAt: now }
  const exitCode = result?.exitCode ?? null
  const details = { task: task.id, epoch: task.epoch, exitCode }
  const act = { actor: holder, action: `task_${state}`, details }
  return { refusal: null, task: next, messages: endNotice(next, state), act }
}

/** Tells the session that gave the task of its end. */
function endNotice(task: Task, status: TaskEnd): AddressedTaskMessage[] {
  if (task.createdBy === null) return []
  const { id, epoch, result } = task
  const summary = result === null ? null : endInWords(result)
  return [{ to: task.createdBy, taskMessage: { type: 'status_update', task: id, epoch, status, summary } }]
}

function endInWords({ exitCode, signal, tail }: TaskResult): string | null {
  const how = signal !== null ? `ended by ${signal}` : exitCode !== null ? `exit code ${exitCode}` : ''
  const what = tail.trim()
  if (how === '' && what === '') return null
  return cutSummary(how === '' || what === '' ? how + what : `${how}: ${what}`)
}

function refuseLate(task: Task, holder: SessionId, report: Report): Refusal {
  return {
    refusal: staleEpoch(task, report.epoch),
    evidence: { task: task.id, holder, report },
    act: lateResultAct(task, holder, report),
  }
}

function refuseEnded(task: Task, holder: SessionId, report: Report): Refusal {
  const refusal = new S2Error('conflict', `task ${task.id} is ${task.state} already`, {
    next: 'stop working on it: what it ended as stands',
  })
  const isResult = report.state !== 'in_progress'
  return {
    refusal,
    evidence: isResult ? { task: task.id, holder, report } : null,
    act: isResult ? lateResultAct(task, holder, report) : null,
  }
}

/** Only results are audited: a refused renewal is nothing that happened. */
function lateResultAct(task: Task, holder: SessionId, { epoch, state }: Report): AuditedAct | null {
  if (state === 'in_progress') return null
  const details = { task: task.id, epoch, state, now: task.epoch }
  return { actor: holder, action: 'late_result_refused', result: 'stale_epoch', details }
}

/** Whether two reports say the same: a repeated request is not more evidence. */
export function isSameReport(x: Report, y: Report): boolean {
  return (
    x.epoch === y.epoch &&
    x.state === y.state &&
    x.progress === y.progress &&
    x.result?.exitCode === y.result?.exitCode &&
    x.result?.signal === y.result?.signal &&
    x.result?.tail === y.result?.tail
  )
}

/** A report as it is kept: without secrets, and no longer than it may be. */
export function cleanReport(report: Report): Report {
  const { progress, result } = report
  return {
    task: report.task,
    epoch: report.epoch,
    state: report.state,
    progress: progress === null ? null : redactedHead(progress, PROGRESS_MAX),
    result: result === null ? null : { ...result, tail: redactedTail(result.tail, TAIL_MAX) },
  }
}

/**
 * Gives a task another owner, or none; null when it is not open at that epoch any more. Work that is taken from a
 * holder becomes the most urgent; a task that had no holder keeps its priority, and giving it out does not count as a move.
 */
export function applyMove(task: Task, { epoch, to, reason }: Move, now: number): Step | null {
  if (!isOpen(task.state) || task.epoch !== epoch) return null
  const from = task.holder
  const taken = from !== null
  const next: Task = {
    ...task,
    priority: taken ? 'P0' : task.priority,
    state: to === null ? 'pending' : 'assigned',
    epoch: epoch + 1,
    holder: to,
    originalAssignee: task.originalAssignee ?? from,
    incarnation: null,
    moves: taken ? task.moves + 1 : task.moves,
    progress: null,
    updatedAt: now,
  }
  const details = { task: task.id, epoch: next.epoch, from, to, reason }
  const act = { actor: reason === 'by_hand' ? 'admin' : 'watchdog', action: 'task_moved', details }
  return { refusal: null, task: next, messages: moveMessages(task, next, reason), act }
}

/** The former owner's message comes first: it may be the new owner too. */
function moveMessages(task: Task, next: Task, reason: Move['reason']): AddressedTaskMessage[] {
  const messages: AddressedTaskMessage[] = []
  const why = reasonInWords(reason)
  if (task.holder !== null) messages.push(revocation(task, task.holder, why))
  if (next.holder !== null) messages.push(assignment(next, next.holder))
  const worker = task.holder ?? next.holder
  const giver = task.createdBy ?? (worker === null ? null : partnerOf(worker))
  const { id, holder: to } = next
  if (giver !== null) {
    messages.push({ to: giver, taskMessage: { type: 'task_moved', task: id, from: task.holder, to, reason } })
  }
  return messages
}

/** Withdraws an open task. Withdrawn twice is once; refused when it ended otherwise. */
export function applyCancel(task: Task, now: number): OwnershipDecision {
  if (task.state === 'cancelled') return { refusal: null, task, messages: [], act: null }
  if (!isOpen(task.state)) {
    return { refusal: new S2Error('conflict', `task ${task.id} is ${task.state} already`), evidence: null, act: null }
  }
  const next: Task = { ...task, state: 'cancelled', updatedAt: now }
  const messages = task.holder === null ? [] : [revocation(task, task.holder, reasonInWords('cancelled'))]
  return {
    refusal: null,
    task: next,
    messages,
    act: { actor: 'admin', action: 'task_cancelled', details: { task: task.id } },
  }
}

/** The new holder is told what is left of the time until the deadline. */
function assignment(task: Task, to: SessionId): AddressedTaskMessage {
  const { id, epoch, description, priority, role, deadline, updatedAt: now } = task
  const timeoutMs = deadline === null || deadline <= now ? null : deadline - now
  return { to, taskMessage: { type: 'task_assignment', task: id, epoch, description, priority, role, timeoutMs } }
}

function revocation({ id, epoch }: Task, to: SessionId, reason: string): AddressedTaskMessage {
  return { to, taskMessage: { type: 'task_revoked', task: id, epoch, reason } }
}

/**
 * The task that a message of a foreign orchestrator gives to its partner; null where it gives none. The worker reads that
 * message itself, so no other is sent.
 */
export function taskOfMessage(from: SessionId, taskMessage: TaskMessage, now: number): NewTask | null {
  if (taskMessage.type !== 'task_assignment' || sideOf(from) !== 'a') return null
  const { task: id, description, priority, role, timeoutMs } = taskMessage
  return {
    id,
    description,
    priority,
    role,
    holder: partnerOf(from),
    deadline: timeoutMs === null ? null : now + timeoutMs,
    createdBy: from,
  }
}

export function beginForeignTask(wanted: NewTask, now: number): Step {
  return { ...beginTask(wanted, now), messages: [] }
}

/**
 * What a worker's message makes of the task it names; null where it says nothing of it. Messages seldom name an epoch: then
 * the report of the present holder counts, and a former holder's is refused, and kept as evidence where it is an end. The
 * partner, who reads the message itself, gets no other.
 */
export function applyTaskMessage(
  task: Task,
  from: SessionId,
  taskMessage: TaskMessage,
  now: number,
): OwnershipDecision | null {
  if (taskMessage.type !== 'status_update' && taskMessage.type !== 'acknowledgment') return null
  const status = taskMessage.type === 'acknowledgment' ? 'accepted' : taskMessage.status
  const summary = taskMessage.type === 'acknowledgment' ? null : taskMessage.summary
  const epoch = taskMessage.epoch ?? task.epoch
  const report = { task: task.id, epoch, ...REPORTS[status](summary) }
  if (task.holder !== from || task.epoch !== epoch) {
    return sideOf(from) === 'b' && report.state !== 'in_progress' ? refuseLate(task, from, cleanReport(report)) : null
  }
  if (status === 'accepted') return accept(task, from, now)
  const decision = applyReport(task, from, report, now)
  if (decision.refusal !== null || decision.task === task) return decision
  const messages = decision.messages.filter(({ to }) => to !== partnerOf(from))
  // a message does not say which life of the agent wrote it, so it renews no lease
  const leaseSeq = task.incarnation === null ? decision.task.leaseSeq : task.leaseSeq
  const progress = report.progress === null && isBlocked(task) ? null : decision.task.progress
  return { ...decision, messages, task: { ...decision.task, leaseSeq, progress } }
}

/**
 * What the status that a holder shows in the Python bridge's table makes of its task: that it is blocked is kept, unless a
 * message said so already, and with a reason. Null where the task stays as it is.
 */
export function applyShownStatus(task: Task, word: string, now: number): Step | null {
  const isNowBlocked = statusOfWord(word) === 'blocked'
  if (!isOpen(task.state) || isNowBlocked === isBlocked(task)) return null
  const progress = isNowBlocked ? redactedHead(`${BLOCKED}its status says ${word.trim()}`, PROGRESS_MAX) : null
  return { refusal: null, task: { ...task, progress, updatedAt: now }, messages: [], act: null }
}

function isBlocked({ progress }: Task): boolean {
  return progress?.startsWith(BLOCKED) === true
}

function accept(task: Task, holder: SessionId, now: number): Step | null {
  if (task.state !== 'assigned') return null
  const act = { actor: holder, action: 'task_accepted', details: { task: task.id, epoch: task.epoch } }
  return { refusal: null, task: { ...task, state: 'accepted', updatedAt: now }, messages: [], act }
}

type ReportContent = Pick<Report, 'state' | 'progress' | 'result'>

/** How the progress of a task begins whose holder waits for something. */
const BLOCKED = 'blocked: '

/** What each status of the Python protocol reports. An agent that declines a task has failed at it. */
const REPORTS: Readonly<Record<Status, (summary: string | null) => ReportContent>> = {
  accepted: (progress) => ({ state: 'in_progress', progress, result: null }),
  in_progress: (progress) => ({ state: 'in_progress', progress, result: null }),
  blocked: (summary) => ({ state: 'in_progress', progress: BLOCKED + (summary ?? 'no reason given'), result: null }),
  completed: (summary) => ({ state: 'completed', progress: null, result: resultOf(summary) }),
  failed: (summary) => ({ state: 'failed', progress: null, result: resultOf(summary) }),
  cancelled: (summary) => ({
    state: 'failed',
    progress: null,
    result: resultOf(`declined: ${summary ?? 'no reason given'}`),
  }),
}

function resultOf(summary: string | null): TaskResult {
  return { exitCode: null, signal: null, tail: summary ?? '' }
}
