import { endNotice, type OwnershipDecision, type Step, silently } from './ownership-decision.ts'
import { redactedHead } from './redact.ts'
import { type SessionId, sideOf } from './session-id.ts'
import { isOpen, PROGRESS_MAX, type Report, type Task, type TaskResult } from './task.ts'
import { withStart } from './task-attempts.ts'
import type { TaskMessage } from './task-messages.ts'
import { applyCancel, endByWord } from './task-ownership.ts'
import { applyReport, cleanReport, refuseLate } from './task-reports.ts'
import { type Status, statusOfWord } from './task-words.ts'

/** Tasks of agents that know nothing of S2: what their messages, and the Python bridge's table, make of them. */

/**
 * What a message of a session that has to do with the task makes of it; null where it says nothing of it. Messages seldom name
 * an epoch: then it is that in which its writer held the task last. The report of the present holder counts, and a former
 * holder's is refused, and kept as evidence where it is an end. The partner, who reads the message itself, gets no other.
 */
export function applyTaskMessage(
  task: Task,
  from: SessionId,
  taskMessage: TaskMessage,
  heldEpoch: number | null,
  now: number,
): OwnershipDecision | null {
  if (taskMessage.type !== 'status_update' && taskMessage.type !== 'acknowledgment') return null
  const status = taskMessage.type === 'acknowledgment' ? 'accepted' : taskMessage.status
  const summary = taskMessage.type === 'acknowledgment' ? null : taskMessage.summary
  const isFormer = sideOf(from) === 'b' && task.holder !== from
  if (isFormer && heldEpoch === null) return null // whoever never held a task plants nothing in it
  const epoch = taskMessage.epoch ?? (isFormer ? heldEpoch : null) ?? task.epoch
  const isPresent = task.epoch === epoch
  if (sideOf(from) === 'a') return isPresent ? endByGiver(task, from, status, summary, now) : null
  const report = { task: task.id, epoch, ...REPORTS[status](summary) }
  if (task.holder !== from || !isPresent)
    return report.state === 'in_progress' ? null : refuseLate(task, from, cleanReport(report))
  if (status === 'accepted') return accept(task, from, now)
  if (status === 'cancelled') return withdraw(task, from, now)
  const decision = applyReport(task, from, report, now)
  if (decision.refusal !== null || decision.task === task) return decision
  // a message does not say which life of the agent wrote it, so it renews no lease
  const leaseSeq = task.incarnation === null ? decision.task.leaseSeq : task.leaseSeq
  const progress = report.progress === null && isBlocked(task) ? null : decision.task.progress
  return silently(from, { ...decision, task: { ...decision.task, leaseSeq, progress } })
}

/** Its giver or its holder says that nobody shall do it. A giver in another conversation is told. */
function withdraw(task: Task, from: SessionId, now: number): OwnershipDecision {
  const decision = applyCancel(task, now, from)
  if (decision.refusal !== null || decision.task === task) return decision
  return silently(from, { ...decision, messages: [...decision.messages, ...endNotice(decision.task, 'cancelled')] })
}

/** Whoever gave a task may say that it has ended; how far it is, its holder says. */
function endByGiver(
  task: Task,
  from: SessionId,
  status: Status,
  summary: string | null,
  now: number,
): OwnershipDecision | null {
  if (status === 'cancelled') return withdraw(task, from, now)
  if (status !== 'completed' && status !== 'failed') return null
  const words = `its giver says: ${summary ?? status}`
  const step = endByWord(task, from, status, words, now)
  return step === null ? null : silently(from, step)
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

/** What each status of the Python protocol reports. An agent that declines a task has failed at it; one that cancels it too late, too. */
const REPORTS: Readonly<Record<Status, (summary: string | null) => ReportContent>> = {
  accepted: (progress) => ({ state: 'in_progress', progress, result: null }),
  in_progress: (progress) => ({ state: 'in_progress', progress, result: null }),
  blocked: (summary) => ({ state: 'in_progress', progress: BLOCKED + (summary ?? 'no reason given'), result: null }),
  completed: (summary) => ({ state: 'completed', progress: null, result: resultOf(summary) }),
  failed: (summary) => ({ state: 'failed', progress: null, result: resultOf(summary) }),
  declined: (summary) => ({ state: 'failed', progress: null, result: resultOf(wordsOf('declined', summary)) }),
  cancelled: (summary) => ({ state: 'failed', progress: null, result: resultOf(wordsOf('cancelled', summary)) }),
}

function wordsOf(status: Status, summary: string | null): string {
  return `${status}: ${summary ?? 'no reason given'}`
}

function resultOf(summary: string | null): TaskResult {
  return { exitCode: null, signal: null, tail: summary ?? '' }
}
