import type { AuditedAct } from './audit.ts'
import { S2Error } from './errors.ts'
import { endNotice, failureInWords, type OwnershipDecision, type Refusal, type Step } from './ownership-decision.ts'
import { redactedHead, redactedTail } from './redact.ts'
import type { SessionId } from './session-id.ts'
import {
  type AttemptEnd,
  CHECKPOINT_MAX,
  isOpen,
  PROGRESS_MAX,
  RETURN_CAUSES,
  type Report,
  staleEpoch,
  TAIL_MAX,
  type Task,
  type TaskEnd,
} from './task.ts'
import { countedAttempts, presentAttempt, withEnd, withStart, withUsage } from './task-attempts.ts'
import { cleanUsage } from './usage.ts'

/** What a holder's report makes of its task. */

/** A report about a task. Only the holder's at the present epoch counts; any other is refused and kept as evidence. */
export function applyReport(task: Task, holder: SessionId, report: Report, now: number): OwnershipDecision {
  const clean = cleanReport(report)
  if (wasReturned(task, holder, clean)) return { refusal: null, task, messages: [], act: null }
  if (task.holder !== holder || task.epoch !== clean.epoch) return refuseLate(task, holder, clean)
  if (isOpen(task.state)) return applyOwn(task, holder, clean, now)
  if (clean.state === task.state) return { refusal: null, task, messages: [], act: null }
  return refuseEnded(task, holder, clean)
}

function applyOwn(before: Task, holder: SessionId, report: Report, now: number): Step {
  const isBegun = presentAttempt(before) !== null
  const begun = isBegun ? before : { ...before, attempts: withStart(before, holder, now) } // a foreign agent may take it by this
  const used = withUsage(report.state === 'in_progress' ? begun : before, report.usage)
  const task = report.checkpoint === undefined ? used : { ...used, checkpoint: report.checkpoint }
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

/** Whether this holder itself gave the task back in that epoch: a renewal that comes after its return shows nothing. */
function gaveBack({ attempts }: Task, holder: SessionId, epoch: number): boolean {
  return attempts.some((each) => each.epoch === epoch && each.holder === holder && isReturn(each.end))
}

function isReturn(end: AttemptEnd | null): boolean {
  return (RETURN_CAUSES as readonly (AttemptEnd | null)[]).includes(end)
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
  const why = result === null ? null : failureInWords(result)
  return { ...step, failure: { task: task.id, epoch: task.epoch, kind: 'task_failed', holder, why } }
}

export function refuseLate(task: Task, holder: SessionId, report: Report): Refusal {
  if (report.state === 'in_progress' && gaveBack(task, holder, report.epoch))
    return {
      refusal: staleEpoch(task, report.epoch, 'stop working on it: you gave it back'),
      evidence: null,
      act: null,
    }
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
    x.checkpoint === y.checkpoint &&
    x.result?.exitCode === y.result?.exitCode &&
    x.result?.signal === y.result?.signal &&
    x.result?.tail === y.result?.tail
  )
}

/** A report as it is kept: without secrets, and no longer than it may be. */
export function cleanReport(report: Report): Report {
  const { progress, result, work, cause, usage, checkpoint } = report
  return {
    task: report.task,
    epoch: report.epoch,
    state: report.state,
    ...(work === undefined ? {} : { work }),
    ...(cause === undefined ? {} : { cause }),
    ...(usage === undefined ? {} : { usage: cleanUsage(usage) }),
    ...(checkpoint === undefined ? {} : { checkpoint: redactedHead(checkpoint, CHECKPOINT_MAX) }),
    progress: progress === null ? null : redactedHead(progress, PROGRESS_MAX),
    result: result === null ? null : { ...result, tail: redactedTail(result.tail, TAIL_MAX) },
  }
}
