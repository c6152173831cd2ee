import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import {
  assignment,
  endNotice,
  failureInWords,
  giverOf,
  type OwnershipDecision,
  revocation,
  type Step,
} from './ownership-decision.ts'
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
  TAIL_MAX,
  type Task,
  type TaskEnding,
  type TaskResult,
} from './task.ts'
import { countedAttempts, isPaused, withEnd, withStart } from './task-attempts.ts'
import { type AddressedTaskMessage, reasonInWords } from './task-messages.ts'

/**
 * Who owns a task, and what becomes of it: the rules that every store keeps. A store reads the task, applies the rule, and
 * writes what it answers, all in one transaction. Times are milliseconds since 1970 by the store's wall clock.
 */

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

/** Moves after which work is the most urgent: its owner was lost with it. A place that cannot do it makes it no more urgent. */
const URGENT: readonly MoveReason[] = ['silent', 'gone', 'lease_lapsed', 'conversation_ended', 'by_hand', 'stalled']

/** Whether its present holder has begun it, also where a life of that holder ended in the middle of it. */
function isBegun({ holder, attempts }: Task): boolean {
  const last = attempts.at(-1)
  return last !== undefined && last.holder === holder && (last.end === null || last.end === 'interrupted')
}

/**
 * Gives a task another owner, or none; null when it is not open at that epoch any more. The same owner may get it, to begin it
 * again: the old epoch is refused to it as well. What a lost holder had begun becomes the most urgent, and what only waited there
 * stays as urgent as it was: raised with it, older tasks would delay it. Giving out a task that had no holder does not count as
 * a move.
 */
export function applyMove(task: Task, { epoch, to, reason }: Move, now: number): Step | null {
  if (!isOpen(task.state) || task.epoch !== epoch) return null
  const from = task.holder
  const taken = from !== null
  const next: Task = {
    ...task,
    ...withEnd(task, reason, task.progress, now),
    ...(reason === 'deadline' ? nextDeadline(task, now) : {}),
    priority: isBegun(task) && to !== from && URGENT.includes(reason) ? 'P0' : task.priority,
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
  const giver = giverOf(task)
  const { id, holder: to, originalAssignee } = next
  const isFirst = task.holder === null && originalAssignee === null
  if (giver !== null && !isFirst) {
    messages.push({ to: giver, taskMessage: { type: 'task_moved', task: id, from: task.holder, to, reason } })
  }
  return messages
}

/** Ends an open task because `actor`, who does not hold it, says so; its holder is told to stop. Null where it has ended already. */
export function endByWord(
  task: Task,
  actor: SessionId,
  state: 'completed' | 'failed',
  words: string,
  now: number,
): Step | null {
  if (!isOpen(task.state)) return null
  const result: TaskResult = { exitCode: null, signal: null, tail: redactedTail(words, TAIL_MAX) }
  const next: Task = { ...task, ...withEnd(task, state, words, now), state, result, pause: null, updatedAt: now }
  const stop = task.holder === null ? [] : [revocation(task, task.holder, `its giver says that it is ${state}`)]
  const act = { actor, action: `task_${state}`, details: { task: task.id, epoch: task.epoch, exitCode: null } }
  const step: Step = { refusal: null, task: next, messages: [...stop, ...endNotice(next, state)], act }
  if (state === 'completed') return step
  const why = failureInWords(result)
  return { ...step, failure: { task: task.id, epoch: task.epoch, kind: 'task_failed', holder: task.holder, why } }
}

/** Withdraws an open task. Withdrawn twice is once; refused when it ended otherwise. */
export function applyCancel(task: Task, now: number, actor: SessionId | 'admin' = 'admin'): OwnershipDecision {
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
    act: { actor, action: 'task_cancelled', details: { task: task.id } },
  }
}
