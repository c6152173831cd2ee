import { reasonInWords } from '#fleet/task-messages.ts'
import type { Usage } from '#fleet/usage.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { formatDuration } from '#runtime/duration.ts'
import type { SaidOfTask } from '#spool/running-tasks.ts'
import type { AgentWords, HeardTask } from './agent-words.ts'
import { LeaseRenewer, type LeaseStatus } from './lease-renewer.ts'
import { marginOf } from './lease-timer.ts'
import { ProgressLine } from './progress-line.ts'
import { ProgressReports, type ReportRefusal } from './refused-reports.ts'
import type { EndedRun } from './run-verdict.ts'
import type { CommandEnd, RunningCommand, StartCommand } from './running-command.ts'
import { WorkCount } from './work-count.ts'
import type { StopReason, WorkEvent } from './work-event.ts'
import type { LeasedTask } from './worker-session.ts'

export interface TaskRunParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly start: StartCommand
  readonly words: AgentWords
  say(event: WorkEvent): void
  /** Called with the first refusal of a text. */
  onRefused(refusal: ReportRefusal): void
  /** Aborts when the task is to be given up. */
  readonly stopping: AbortSignal
}

/** How long what runs may go on after its agent has ended the task, as for a last message or to clean up. */
const LEAVE_MS = 5 * 60_000

export interface RunResult {
  /** How the command ended, by its agent's own word where that has one; null where its lease was gone before it began. */
  readonly ended: EndedRun | null
  /** Why it was stopped; null where it ended by itself, or its agent had ended the task. */
  readonly stopped: StopReason | null
  readonly progress: string | null
  /** What its client used; left out where nobody says. */
  readonly usage?: Usage
  /** Why not even a bare report of progress was taken; null where it was. */
  readonly refusal: ReportRefusal | null
}

/**
 * One task in hand. Its lease is renewed, with progress and signs of work, while its command runs and until this is released;
 * the command is ended before another agent can get the lease.
 */
export class TaskRun implements AsyncDisposable {
  readonly #leased: LeasedTask
  readonly #leaseMs: number
  readonly #parts: TaskRunParts
  readonly #progress: ProgressLine
  readonly #signs = new WorkCount()
  readonly #reports: ProgressReports
  readonly #renewer: LeaseRenewer
  readonly #toldToStop = Promise.withResolvers<StopReason>()
  #running: RunningCommand | null = null
  readonly #over = new AbortController()
  #hasEnd = false
  #isFailing = false
  /** Why the task was taken away: what a message says counts before what the store said to a renewal. */
  #revoked: string | null = null
  #refused: string | null = null

  constructor(
    leased: LeasedTask,
    times: { readonly leaseMs: number; readonly progressMs: number },
    parts: TaskRunParts,
  ) {
    const { task, session, store, asked } = leased
    const { clock, chance } = parts
    const { leaseMs } = times
    this.#leased = leased
    this.#leaseMs = leaseMs
    this.#parts = parts
    this.#progress = new ProgressLine(times.progressMs, clock)
    this.#reports = new ProgressReports({
      task,
      // A bare report goes without it: an older bridge knows no usage, and refuses a report for it.
      report: (report) =>
        store.report(session, {
          ...report,
          ...this.#signs.report,
          ...(report.progress === null ? {} : usageOf(this.#running)),
        }),
      onRefused: parts.onRefused,
    })
    const [renew, onTrouble] = [() => this.#renew(), (error: unknown) => this.#onTrouble(error)]
    this.#renewer = new LeaseRenewer({ clock, chance, leaseMs, asked, renew, onTrouble })
  }

  get task(): string {
    return this.#leased.task.id
  }

  get epoch(): number {
    return this.#leased.task.epoch
  }

  /** A message says that the task is another agent's now, or nobody's: the store is asked at once. */
  revoke(reason: string): void {
    this.#revoked = reason
    this.#renewer.nudge()
  }

  /** Runs the command, to its own end or until it has to be stopped. */
  async toTheEnd(): Promise<RunResult> {
    // A task that was granted long ago, by an answer that was lost, may have another holder by now.
    const status = await this.#renewer.status()
    if (status !== 'held') return this.#result(null, stopReasonOf(status))
    const { stopping } = this.#parts
    const onStop = (): void => this.#toldToStop.resolve('told_to_stop')
    if (stopping.aborted) onStop()
    stopping.addEventListener('abort', onStop, { once: true })
    try {
      return await this.#run()
    } finally {
      stopping.removeEventListener('abort', onStop)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#renewer[Symbol.asyncDispose]()
  }

  async #run(): Promise<RunResult> {
    const { say } = this.#parts
    const { id, epoch, priority } = this.#leased.task
    say({ event: 'started', task: id, epoch, priority })
    await using heard = await this.#listen()
    const run = this.#start()
    const stopped = Promise.race([this.#toldToStop.promise, this.#renewer.over.then(stopReasonOf)])
    const first = await Promise.race([run.then((): null => null), stopped])
    // This process may have been paused past its lease, and see the command's end first.
    if (first === null) await this.#renewer.status()
    else this.#stop(first)
    const ended = await run
    this.#over.abort()
    const why = ended.error === null ? {} : { why: ended.end.tail }
    say({ event: 'ended', task: id, epoch, exitCode: ended.end.exitCode, signal: ended.end.signal, ...why })
    const end = heard?.said()?.end ?? null
    if (end === null) return this.#result(ended, first)
    return this.#result(wordOf(end, ended), first === 'lease_lost' ? first : null)
  }

  /** Without it the task goes on: what its agent says of it is not heard then, and its agent is told so. */
  async #listen(): Promise<HeardTask | null> {
    const { words, say } = this.#parts
    const { task, session } = this.#leased
    try {
      return await words.listen({ session, task: task.id, epoch: task.epoch }, (said) => this.#hear(said))
    } catch (error) {
      say({ event: 'trouble', what: `listening to the agent of ${task.id}`, error })
      return null
    }
  }

  #hear({ progress, end }: SaidOfTask): void {
    this.#signs.noteSign()
    if (progress !== null) this.#progress.say(progress)
    this.#renewer.nudge()
    if (end === null || this.#hasEnd) return
    this.#hasEnd = true
    const stop = (): void => this.#running?.stop(marginOf(this.#leaseMs) / 3)
    void this.#parts.clock.sleep(LEAVE_MS, this.#over.signal).then(stop, () => undefined)
  }

  #start(): Promise<EndedRun> {
    const { clock, start, say } = this.#parts
    const { task } = this.#leased
    const startedAt = clock.now()
    const running = start(task, (line) => {
      say({ event: 'output', task: task.id, line })
      if (this.#progress.note(line)) this.#renewer.nudge()
    })
    this.#running = running
    this.#renewer.nudge()
    return running.ended.then(
      (end) => ({ end, error: null, ms: clock.now() - startedAt }),
      (error) => ({ end: endOfFailedStart(error), error, ms: clock.now() - startedAt }),
    )
  }

  #stop(why: StopReason): void {
    const { id, epoch } = this.#leased.task
    this.#running?.stop(marginOf(this.#leaseMs) / 3)
    const reason = why === 'lease_lost' ? this.#whyLost() : null
    this.#parts.say({ event: 'stopping', task: id, epoch, why, ...(reason === null ? {} : { reason }) })
  }

  /** Whose lease was renewed in time and is said to have lapsed is judged by a shorter one. */
  #whyLost(): string | null {
    const isLapsed = this.#revoked === reasonInWords('lease_lapsed')
    if (!isLapsed || !this.#renewer.isInTime) return this.#revoked ?? this.#refused
    const lease = formatDuration(this.#leaseMs)
    return `${this.#revoked}, by the watchdog's clock: S2_LEASE is ${lease} here, and must not be longer than there`
  }

  #result(ended: EndedRun | null, stopped: StopReason | null): RunResult {
    return {
      ...{ ended, stopped, progress: this.#progress.take(), refusal: this.#reports.refusal },
      ...usageOf(this.#running),
    }
  }

  async #renew(): Promise<void> {
    const running = this.#running
    await this.#signs.look(running)
    await this.#reports.send(this.#progress.take(running?.openLine?.()))
    this.#isFailing = false
  }

  #onTrouble(error: unknown): void {
    this.#refused = error instanceof Error ? error.message : null
    if (!this.#isFailing) this.#parts.say({ event: 'trouble', what: `renewing the lease of ${this.task}`, error })
    this.#isFailing = true
  }
}

/** A task ended as its agent says, whatever became of the process that the agent is. */
function wordOf({ state, words }: NonNullable<SaidOfTask['end']>, { ms }: EndedRun): EndedRun {
  const exitCode = state === 'completed' ? 0 : 1
  return { end: { exitCode, signal: null, tail: words, client: 'answered' }, error: null, ms }
}

function usageOf(running: RunningCommand | null): { readonly usage?: Usage } {
  return running?.usage === undefined ? {} : { usage: running.usage }
}

function stopReasonOf(status: LeaseStatus): StopReason | null {
  return status === 'held' ? null : status === 'lost' ? 'lease_lost' : 'lease_unsure'
}

/** A command that could not be started has no exit code; what kept it from that is its last line. */
function endOfFailedStart(error: unknown): CommandEnd {
  return { exitCode: null, signal: null, tail: `the command could not be started: ${(error as Error).message}` }
}
