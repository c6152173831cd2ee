import { textHead, WHY_MAX } from '#fleet/cut-text.ts'
import type { ReturnCause, Task } from '#fleet/task.ts'
import type { NotNowTasks } from './not-now-tasks.ts'
import type { FailedRun, PlaceFault, PlaceJudge } from './place-fault.ts'
import { hasFailedElsewhere, hasFailedQuickly, type QuickFailures } from './quick-failures.ts'

/** A run of a command that nobody stopped. */
export interface EndedRun extends FailedRun {
  readonly ms: number
}

/** What a run means for its task and for the place: the task ended, or goes back and the place is to blame, or may be. */
export type RunVerdict =
  | {
      readonly state: 'completed' | 'failed'
      /** Whether it shows that commands can work here: a quick failure does not. */
      readonly showsWell: boolean
    }
  | { readonly state: 'returned'; readonly cause: ReturnCause; readonly why: string; readonly fault: PlaceFault | null }

/** What is remembered of former runs. */
export interface RunHistory {
  readonly quick: QuickFailures
  readonly notNow: NotNowTasks
}

export function judgeRun(task: Task, run: EndedRun, judge: PlaceJudge, { quick, notNow }: RunHistory): RunVerdict {
  const verdict = verdictOn(task, run, judge, { quick, notNow })
  if (verdict.state !== 'returned' && verdict.showsWell) notNow.noteWell()
  return verdict
}

function verdictOn(task: Task, run: EndedRun, judge: PlaceJudge, { quick, notNow }: RunHistory): RunVerdict {
  const hasFailed = run.end.exitCode !== 0
  const fault = hasFailed ? judge(run) : null
  if (fault?.isSaid === true && notNow.note(task))
    return { state: 'returned', cause: 'not_now', why: fault.why, fault: null }
  if (fault !== null) return blamed(fault)
  if (run.end.client === 'answered') {
    quick.note(task, false, run.ms)
    return { state: hasFailed ? 'failed' : 'completed', showsWell: true }
  }
  const isQuick = quick.note(task, hasFailed, run.ms)
  if (!hasFailed) return { state: 'completed', showsWell: true }
  const line = lastLine(run.end.tail)
  // Its session is kept, and goes on at the next start, which counts as an attempt.
  if (run.end.client === 'died' && !isQuick) return { state: 'returned', cause: 'client_died', why: line, fault: null }
  if (!isQuick || hasFailedElsewhere(task)) return { state: 'failed', showsWell: !isQuick }
  const ofRow = quick.fault(line)
  // The first quick failure of a task counts as its attempt even where the place is to blame: a bad task that went back as `sick`
  // each time would use up no attempt, and go round for ever.
  if (!hasFailedQuickly(task)) return { state: 'returned', cause: 'quick_failure', why: line, fault: ofRow }
  return ofRow === null ? { state: 'failed', showsWell: false } : blamed(ofRow)
}

function blamed(fault: PlaceFault): RunVerdict {
  return { state: 'returned', cause: fault.state, why: fault.why, fault }
}

function lastLine(tail: string): string {
  return textHead(tail.trimEnd().split('\n').at(-1)?.trim() ?? '', WHY_MAX)
}
