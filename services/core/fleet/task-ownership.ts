import type { AuditedAct } from './audit.ts'
import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import type { NewIncident } from './incident.ts'
import { redactedHead, redactedTail } from './redact.ts'
import { partnerOf, type SessionId, sideOf } from './session-id.ts'
import {
  DESCRIPTION_MAX,
  isLeased,
  isOpen,
  type Move,
  type MoveReason,
  type NewTask,
  PRIORITIES,
  PROGRESS_MAX,
  type Report,
  staleEpoch,
  TAIL_MAX,
  type Task,
  type TaskEnd,
  type TaskEnding,
  type TaskResult,
} from './task.ts'
import { countedAttempts, isPaused, presentAttempt, withEnd, withStart } from './task-attempts.ts'
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

/** Late reports that are kept of one task and holder; a former holder that repeats itself for ever must not fill the store. */
export const EVIDENCE_MAX = 100

/** What whoever neither holds nor held a task is told of it, and whoever names one that is none: the two read the same. */
export function unknownTask(id: string): S2Error {
  return new S2Error('not_found', `there is no task ${JSON.stringify(textHead(id, 80))}`, {
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
    otherRoles: wanted.otherRoles ?? [],
    state: holder === null ? 'pending' : 'assigned',
    epoch: 1,
    holder,
    originalAssignee: null,
    incarnation: null,
    leaseSeq: 0,
    work: 0,
    moves: 0,
    attempts: [],
    pause: null,
    reminded: 0,
    progress: null,
    result: null,
    deadline,
    onDeadline: wanted.onDeadline ?? 'fail',
    onStall: wanted.onStall ?? null,
    createdBy,
    createdAt: now,
    updatedAt: now,
  }
  const act = { actor: createdBy ?? 'admin', action: 'task_added', details: { task: id, priority, role, holder } }
  return { refusal: null, task, messages: holder === null ? [] : [assignment(task, holder)], act }
}

/** What a holder's incarnation gets when it asks for work. The steps are to be written in their order. */
export interface LeaseDecision {
  readonly steps: readonly Step[]
  readonly task: Task | null
}

/**
 * The lease of the most urgent task that a holder owns. What this very incarnation has leased already it gets again: the answer
 * was lost. What another incarnation had leased was interrupted, and begins again with a new epoch when its pause is over.
 * `passing` names tasks that it does not want now.
 */
export function decideLease(
  tasks: Iterable<Task>,
  holder: SessionId,
  incarnation: string,
  now: number,
  passing: readonly string[] = [],
): LeaseDecision {
  const mine = [...tasks].filter((task) => task.holder === holder && isOpen(task.state) && !passing.includes(task.id))
  const own = mine.find((task) => isLeasedBy(task, incarnation))
  if (own !== undefined) return { steps: [], task: own }
  const interrupted = mine.filter(({ state }) => isLeased(state)).map((task) => interrupt(task, now))
  const waiting = [...mine.filter(({ state }) => !isLeased(state)), ...interrupted.map(({ task }) => task)]
  const next = waiting.filter((task) => !isPaused(task, now)).sort(compareUrgency)[0]
  if (next === undefined) return { steps: interrupted, task: null }
  const lease = applyLease(next, holder, incarnation, now)
  return { steps: [...interrupted, lease], task: lease.task }
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

/** A life of the holder ended, or gave up, with this task in hand. */
function interrupt(task: Task, now: number): Step {
  const next: Task = {
    ...task,
    ...withEnd(task, 'interrupted', task.progress, now),
    state: 'assigned',
    epoch: task.epoch + 1,
    incarnation: null,
    updatedAt: now,
  }
  const { id, incarnation } = task
  const details = { task: id, epoch: next.epoch, incarnation, attempts: countedAttempts(next) }
  const act = { actor: task.holder ?? 'admin', action: 'task_interrupted', details }
  return { refusal: null, task: next, messages: [], act }
}

function applyLease(task: Task, holder: SessionId, incarnation: string, now: number): Step {
  const next: Task = {
    ...task,
    state: 'accepted',
    incarnation,
    leaseSeq: task.leaseSeq + 1,
    work: 0,
    attempts: withStart(task, holder, now),
    pause: null,
    updatedAt: now,
  }
  const details = { task: task.id, epoch: next.epoch, incarnation }
  return { refusal: null, task: next, messages: [], act: { actor: holder, action: 'task_leased', details } }
}

/** A report about a task. Only the holder's at the present epoch counts; any other is refused and kept as evidence. */
export function applyReport(task: Task, holder: SessionId, report: Report, now: number): OwnershipDecision {
  const clean = cleanReport(report)
  if (wasReturned(task, holder, clean)) return { refusal: null, task, messages: [], act: null }
  if (task.holder !== holder || task.epoch !== clean.epoch) return refuseLate(task, holder, clean)
  if (isOpen(task.state)) return applyOwn(task, holder, clean, now)
  if (clean.state === task.state) return { refusal: null, task, messages: [], act: null }
  return refuseEnded(task, holder, clean)
}

function applyOwn(task: Task, holder: SessionId, report: Report, now: number): Step {
  switch (report.state) {
    case 'in_progress':
      return renew(task, holder, report, now)
    case 'returned':
      return giveBack(task, holder, report, now)
    default:
      return end(task, holder, report.state, report, now)
  }
}

/** A repeated return: the task has its next epoch already. */
function wasReturned({ attempts }: Task, holder: SessionId, { state, epoch, cause }: Report): boolean {
  if (state !== 'returned') return false
  return attempts.some((each) => each.epoch === epoch && each.holder === holder && each.end === (cause ?? 'sick'))
}

/** The holder could not do it, and another may: nobody has it now. Its priority stays, for it waits because of a place. */
function giveBack(task: Task, holder: SessionId, { cause = 'sick', result }: Report, now: number): Step {
  const next: Task = {
    ...task,
    ...withEnd(task, cause, result?.tail ?? task.progress, now),
    state: 'pending',
    epoch: task.epoch + 1,
    holder: null,
    originalAssignee: task.originalAssignee ?? holder,
    incarnation: null,
    progress: null,
    updatedAt: now,
  }
  const details = { task: task.id, epoch: next.epoch, cause, attempts: countedAttempts(next) }
  return { refusal: null, task: next, messages: [], act: { actor: holder, action: 'task_returned', details } }
}

function renew(task: Task, holder: SessionId, { progress, work }: Report, now: number): Step {
  const next: Task = {
    ...task,
    state: 'in_progress',
    attempts: presentAttempt(task) === null ? withStart(task, holder, now) : task.attempts, // a foreign agent may take it by this
    leaseSeq: task.leaseSeq + 1,
    work: work ?? task.work,
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
  const next: Task = {
    ...task,
    ...withEnd(task, state, result?.tail ?? progress, now),
    state,
    progress: progress ?? task.progress,
    result,
    pause: null,
    updatedAt: now,
  }
  const exitCode = result?.exitCode ?? null
  const details = { task: task.id, epoch: task.epoch, exitCode }
  const step: Step = {
    refusal: null,
    task: next,
    messages: endNotice(next, state),
    act: { actor: holder, action: `task_${state}`, details },
  }
  if (state === 'completed') return step
  const why = result === null ? null : endInWords(result)
  return { ...step, failure: { task: task.id, epoch: task.epoch, kind: 'task_failed', holder, why } }
}

/**
 * The watchdog ends a task that its holder will not end, or that nobody has; null when it is not open at that epoch any more. The
 * holder is told to stop, and whoever gave the task what became of it.
 */
export function applyEnding(task: Task, { epoch, reason, words }: TaskEnding, now: number): Step | null {
  if (!isOpen(task.state) || task.epoch !== epoch) return null
  const result: TaskResult = { exitCode: null, signal: null, tail: redactedTail(words, TAIL_MAX) }
  const next: Task = {
    ...task,
    ...withEnd(task, reason, task.progress, now),
    state: 'failed',
    result,
    pause: null,
    updatedAt: now,
  }
  const stop = task.holder === null ? [] : [revocation(task, task.holder, reasonInWords(reason))]
  const details = { task: task.id, epoch, reason, attempts: countedAttempts(next) }
  return {
    refusal: null,
    task: next,
    messages: [...stop, ...endNotice(next, 'failed')],
    act: { actor: 'watchdog', action: 'task_ended', details },
    failure: {
      task: task.id,
      epoch,
      kind: reason === 'attempts' ? 'task_exhausted' : 'task_failed',
      holder: task.holder,
      why: result.tail.split('\n')[0] ?? null,
    },
  }
}

/** Sends the assignment of a task that its holder has not taken once more; null where that was done, or it is not that task any more. */
export function applyReminder(task: Task, epoch: number, now: number): Step | null {
  if (task.state !== 'assigned' || task.epoch !== epoch || task.holder === null || task.reminded === epoch) return null
  const next: Task = { ...task, reminded: epoch, updatedAt: now }
  const act = { actor: 'watchdog', action: 'task_reminded', details: { task: task.id, epoch } }
  return { refusal: null, task: next, messages: [assignment(next, task.holder)], act }
}

/** Who is told what becomes of a task: whoever gave it, else the orchestrator of whoever had it last. */
function giverOf({ createdBy, holder, originalAssignee, attempts }: Task): SessionId | null {
  const worker = holder ?? attempts.at(-1)?.holder ?? originalAssignee
  return createdBy ?? (worker === null ? null : partnerOf(worker))
}

function endNotice(task: Task, status: TaskEnd): AddressedTaskMessage[] {
  const to = giverOf(task)
  if (to === null) return []
  const { id, epoch, result } = task
  const summary = result === null ? null : endInWords(result)
  return [{ to, taskMessage: { type: 'status_update', task: id, epoch, status, summary } }]
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
  const { progress, result, work, cause } = report
  return {
    task: report.task,
    epoch: report.epoch,
    state: report.state,
    ...(work === undefined ? {} : { work }),
    ...(cause === undefined ? {} : { cause }),
    progress: progress === null ? null : redactedHead(progress, PROGRESS_MAX),
    result: result === null ? null : { ...result, tail: redactedTail(result.tail, TAIL_MAX) },
  }
}

/** Moves after which a task is the most urgent: its owner was lost with it. A place that cannot do it makes it no more urgent. */
const URGENT: readonly MoveReason[] = ['silent', 'gone', 'lease_lapsed', 'conversation_ended', 'by_hand', 'stalled']

/**
 * Gives a task another owner, or none; null when it is not open at that epoch any more. Work whose holder was lost
 * becomes the most urgent; giving out a task that had no holder does not count as a move.
 */
export function applyMove(task: Task, { epoch, to, reason }: Move, now: number): Step | null {
  if (!isOpen(task.state) || task.epoch !== epoch) return null
  const from = task.holder
  const taken = from !== null
  const next: Task = {
    ...task,
    ...withEnd(task, reason, task.progress, now),
    ...(reason === 'deadline' ? nextDeadline(task, now) : {}),
    priority: taken && URGENT.includes(reason) ? 'P0' : task.priority,
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

/** Whoever gets a task after its deadline has as long for it as it was given at first, and no other comes after. */
function nextDeadline({ deadline, createdAt }: Task, now: number): Pick<Task, 'deadline' | 'onDeadline'> {
  return { deadline: deadline === null ? null : now + Math.max(0, deadline - createdAt), onDeadline: 'fail' }
}

/** The former owner's message comes first: it may be the new owner too. */
function moveMessages(task: Task, next: Task, reason: Move['reason']): AddressedTaskMessage[] {
  const messages: AddressedTaskMessage[] = []
  const why = reasonInWords(reason)
  if (task.holder !== null) messages.push(revocation(task, task.holder, why))
  if (next.holder !== null) messages.push(assignment(next, next.holder))
  const giver = giverOf(task) ?? giverOf(next)
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
  const next: Task = {
    ...task,
    ...withEnd(task, 'cancelled', null, now),
    state: 'cancelled',
    pause: null,
    updatedAt: now,
  }
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
    onDeadline: 'move',
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
  const attempts = withStart(task, holder, now)
  return { refusal: null, task: { ...task, state: 'accepted', attempts, updatedAt: now }, messages: [], act }
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
