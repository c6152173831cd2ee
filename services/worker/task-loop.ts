import { textHead, textTail } from '#fleet/cut-text.ts'
import type { Code } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isSpokenFor } from '#fleet/speakers.ts'
import { PROGRESS_MAX, type Report, TAIL_MAX, type Task } from '#fleet/task.ts'
import { type BackoffLimits, Pauses } from '#runtime/backoff.ts'
import { LATE, waitUnlessAborted } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'
import { type ReportOutcome, reportEnd } from './end-report.ts'
import { LeaseRenewer, type LeaseStatus } from './lease-renewer.ts'
import { type LeaseStamp, LeaseTimer, marginOf } from './lease-timer.ts'
import { type AfterRefusal, ProgressReports, type ReportRefusal } from './refused-reports.ts'
import { SpokenForSessions } from './spoken-for-sessions.ts'

export interface TaskLoopConfig {
  readonly leaseMs: number
  /** How often it asks for work without a message. */
  readonly pollMs: number
  /** The shortest time between two reports of progress. */
  readonly progressMs: number
  /** Whether it ends when no work is left. */
  readonly once: boolean
}

/** A session that the agent works for, and the store of its tasks. */
export interface WorkerSession {
  readonly session: SessionId
  readonly store: Pick<Store, 'leaseTask' | 'report'>
  /** Where the host runs (`spool/place.ts`), as far as that is known here. */
  readonly place?: string | undefined
}

/** Keeps reports durably and in order until they are sent to the store. */
export interface Reports {
  put(holder: SessionId, report: Report): Promise<string>
  /** What became of one that was put. */
  carried(name: string): Promise<ReportOutcome>
  /** The number of these sessions' final reports that still wait. */
  waiting(sessions: readonly SessionId[]): Promise<number>
}

/** The ids of tasks that messages assigned and revoked. */
export interface TaskNews {
  readonly assigned: readonly string[]
  readonly revoked: readonly string[]
}

/** The messages about tasks in the inbox. */
export interface TaskMailbox {
  /** Takes them out of the inbox and answers their content. */
  take(sessions: readonly SessionId[]): Promise<TaskNews>
  /** Calls back when a message may have come. */
  onNews(heard: () => void): Disposable
}

/** A running command of a task. */
export interface RunningCommand {
  /** Settles when the command and all its children have ended. Rejects when it could not be started. */
  readonly ended: Promise<CommandEnd>
  /** What stands on a line that has no end yet, as a question does; empty: nothing. */
  openLine?(): string
  /** Ends it: TERM, and KILL to the whole group after this time. */
  stop(graceMs: number): void
}

export interface CommandEnd {
  readonly exitCode: number | null
  readonly signal: string | null
  readonly tail: string
}

export type StartCommand = (task: Task, onLine: (line: string) => void) => RunningCommand

/** An event of the loop, for people and logs. */
export type WorkEvent =
  | { readonly event: 'idle'; readonly waitingReports?: number }
  | { readonly event: 'started'; readonly task: string; readonly epoch: number; readonly priority: string }
  | { readonly event: 'output'; readonly task: string; readonly line: string }
  | {
      readonly event: 'ended'
      readonly task: string
      readonly epoch: number
      readonly exitCode: number | null
      readonly signal: string | null
    }
  | { readonly event: 'reported'; readonly task: string; readonly epoch: number; readonly state: string }
  | {
      /** The bridge refused a report for good. */
      readonly event: 'refused'
      readonly task: string
      readonly epoch: number
      readonly what: 'progress' | 'result'
      readonly why: string
      readonly code: Code
      readonly then: AfterRefusal
    }
  | { readonly event: 'stopping'; readonly task: string; readonly epoch: number; readonly why: StopReason }
  | { readonly event: 'trouble'; readonly what: string; readonly error: unknown }

/** Why a command is ended: the store gave its task away, the store was unreachable for too long, or the agent has to end. */
export type StopReason = 'lease_lost' | 'lease_unsure' | 'told_to_stop'

export interface TaskLoopParts {
  readonly clock: Clock
  readonly chance: Chance
  /** An id of this run of the agent, which no other run has. */
  readonly runId: string
  /** The sessions to work for now; none without credentials. */
  sessions(): Promise<readonly WorkerSession[]>
  readonly reports: Reports
  readonly taskMessages: TaskMailbox
  readonly start: StartCommand
  say(event: WorkEvent): void
  /** Aborts when no further task is to be taken. */
  readonly draining: AbortSignal
  /** Aborts when the current task is to be given up too. */
  readonly stopping: AbortSignal
}

/** The current task, and the time when it was requested. */
interface Leased extends WorkerSession {
  readonly task: Task
  readonly asked: LeaseStamp
}

const RETRY = { firstMs: 500, mostMs: 30_000, leastMs: 500 }
/** The inbox is a folder of this host: what keeps it from being read passes soon or not at all. */
const MAIL_RETRY = { firstMs: 500, mostMs: 500, leastMs: 500 }
/** How many of the tasks that it does not take are named to the store. */
const PASSING_MAX = 1_000
/** How often it looks whether reports still wait in the outbox. */
const WAITING_MS = 1_000

/**
 * Works on the tasks of its sessions, one at a time, until it is told to end. A task is leased before its command starts and
 * renewed while the command runs; the command is ended before another agent can get the lease.
 */
export class TaskLoop {
  readonly #config: TaskLoopConfig
  readonly #parts: TaskLoopParts
  readonly #over = new AbortController()
  readonly #troubles = new KnownTroubles()
  readonly #spokenFor: SpokenForSessions
  #runs = 0
  #current: { readonly task: string; readonly renewer: LeaseRenewer } | null = null
  #wasIdle = false
  /** Tasks whose reports the bridge takes in no form: done again, they would only be refused again. */
  readonly #setAside = new Set<string>()

  constructor(config: TaskLoopConfig, parts: TaskLoopParts) {
    this.#config = config
    this.#parts = parts
    const { clock, say } = parts
    this.#spokenFor = new SpokenForSessions({
      clock,
      onBegin: (session, error) => say({ event: 'trouble', what: `no work is taken for ${session}`, error }),
    })
  }

  /** Settles when it was told to end and has no task, or when no work is left (`once`). Never rejects. */
  async work(): Promise<void> {
    const { draining, taskMessages } = this.#parts
    const end = (): void => this.#over.abort()
    if (draining.aborted) return
    draining.addEventListener('abort', end, { once: true })
    const tasks = this.#repeat('asking for work', RETRY, () => this.#lookForWork(() => tasks.succeeded()))
    const mail = this.#repeat('reading the inbox', MAIL_RETRY, async () => {
      if (await this.#readMail()) {
        this.#spokenFor.askAtOnce()
        tasks.retry() // an assignment came in, so the bridge answers again
      }
      return this.#config.pollMs
    })
    using _news = taskMessages.onNews(() => mail.retry())
    await Promise.all([tasks.done, mail.done])
    draining.removeEventListener('abort', end)
  }

  /** Repeats a step until the loop is over; a lasting trouble is reported once. */
  #repeat(what: string, limits: BackoffLimits, step: () => Promise<number>): RetryLoop {
    const { clock, chance, say } = this.#parts
    return new RetryLoop({
      clock,
      chance,
      signal: this.#over.signal,
      limits,
      step,
      onTrouble: (error) => {
        if (isSpokenFor(error)) return // that is said of each session
        if (this.#troubles.isNew(what, String(error))) say({ event: 'trouble', what, error })
      },
      onWell: () => void this.#troubles.isOver(what),
    })
  }

  /** Does one task, if there is any. Answers milliseconds until the next try. */
  async #lookForWork(onAnswered: () => void): Promise<number> {
    const { chance, reports } = this.#parts
    const sessions = await this.#parts.sessions()
    const ids = sessions.map(({ session }) => session)
    // The task of a report that waits is still leased to this session in the store: to lease it again would do it twice.
    const waitingReports = await reports.waiting(ids)
    if (waitingReports > 0) {
      this.#sayIdle({ event: 'idle', waitingReports })
      return WAITING_MS
    }
    const leased = await this.#lease(sessions)
    onAnswered()
    if (leased !== null) {
      this.#wasIdle = false
      await this.#perform(leased)
      return 0
    }
    if (sessions.length === 0) return RETRY.firstMs
    this.#sayIdle({ event: 'idle' })
    if (this.#config.once) this.#over.abort()
    return this.#config.pollMs * (0.9 + 0.2 * chance())
  }

  /** Leases a task of any session; null when none has one. Throws when every session failed to ask. */
  async #lease(sessions: readonly WorkerSession[]): Promise<Leased | null> {
    const faults: unknown[] = []
    for (const each of sessions) {
      const standing = this.#spokenFor.standing(each.session)
      if (standing !== null) {
        faults.push(standing)
        continue
      }
      const asked = LeaseTimer.stamp(this.#parts.clock)
      try {
        const passing = [...this.#setAside].slice(-PASSING_MAX)
        const answer = each.store.leaseTask(each.session, this.#incarnation(), passing, each.place)
        // A task that is granted after an aborted wait is taken over by the next run.
        const task = await waitUnlessAborted(answer, this.#parts.draining)
        if (task !== LATE) this.#spokenFor.noteAnswer(each.session)
        if (task !== null && task !== LATE) return { ...each, task, asked }
      } catch (error) {
        // A session that is refused (its conversation has ended, for example) must not keep the others from working.
        this.#spokenFor.noteError(each.session, error)
        faults.push(error)
      }
    }
    if (sessions.length > 0 && faults.length === sessions.length) throw faults[0]
    return null
  }

  #sayIdle(event: WorkEvent): void {
    if (!this.#wasIdle) this.#parts.say(event)
    this.#wasIdle = true
  }

  /** The id of this run. It changes when a task is given up, so that its lease is taken over with a new epoch. */
  #incarnation(): string {
    return this.#runs === 0 ? this.#parts.runId : `${this.#parts.runId}.${this.#runs}`
  }

  async #perform({ task, session, store, asked }: Leased): Promise<void> {
    const { clock, chance, say, stopping } = this.#parts
    const { leaseMs } = this.#config
    const { id, epoch } = task
    const progress = new Progress(this.#config.progressMs, clock)
    const reports = new ProgressReports({
      task,
      report: (report) => store.report(session, report),
      onRefused: (refusal) => this.#refused(task, 'progress', refusal, 'told_without_text'),
    })
    let running: RunningCommand | null = null
    let isFailing = false
    await using renewer = new LeaseRenewer({
      clock,
      chance,
      leaseMs,
      asked,
      renew: async () => {
        await reports.send(progress.take(running?.openLine?.()))
        isFailing = false
      },
      onTrouble: (error) => {
        if (!isFailing) say({ event: 'trouble', what: `renewing the lease of ${id}`, error })
        isFailing = true
      },
    })
    this.#current = { task: id, renewer }
    say({ event: 'started', task: id, epoch, priority: task.priority })
    renewer.nudge()
    running = this.#parts.start(task, (line) => {
      say({ event: 'output', task: id, line })
      if (progress.note(line)) renewer.nudge()
    })
    const toldToStop = Promise.withResolvers<StopReason>()
    const onStop = (): void => toldToStop.resolve('told_to_stop')
    if (stopping.aborted) onStop()
    stopping.addEventListener('abort', onStop, { once: true })
    const stopped = Promise.race([toldToStop.promise, renewer.over.then(reasonOf)])
    const ended = running.ended.catch(endOfFailedStart)
    try {
      const first = await Promise.race([ended.then((): null => null), stopped])
      // This process may have been paused past its lease, and see the command's end first.
      if (first === null) await renewer.status()
      if (first !== null) {
        say({ event: 'stopping', task: id, epoch, why: first })
        running.stop(marginOf(leaseMs) / 3)
      }
      const end = await ended
      say({ event: 'ended', task: id, epoch, exitCode: end.exitCode, signal: end.signal })
      if (first === 'lease_unsure' && reports.refusal !== null)
        this.#refused(task, 'progress', reports.refusal, 'not_taken_again')
      if (first === 'lease_unsure' || first === 'told_to_stop') this.#runs += 1
      else await this.#report(task, session, end, progress.take())
    } finally {
      stopping.removeEventListener('abort', onStop)
      this.#current = null
    }
  }

  /**
   * Reports the end, and keeps the lease until the report is sent. After a lost lease it reports too: the store refuses the
   * report by its epoch, and keeps it as evidence of work that was done twice.
   */
  async #report(task: Task, session: SessionId, end: CommandEnd, progress: string | null): Promise<void> {
    const { clock, chance, reports, say, stopping } = this.#parts
    const { id, epoch } = task
    const state = end.exitCode === 0 ? 'completed' : 'failed'
    const result = { exitCode: end.exitCode, signal: end.signal, tail: textTail(end.tail, TAIL_MAX) }
    await reportEnd(
      { task: id, epoch, state, progress, result },
      {
        clock,
        chance,
        put: (report) => this.#put(session, report),
        outcome: (name) => reports.carried(name),
        onReported: () => say({ event: 'reported', task: id, epoch, state }),
        onRefused: (refusal, then) => this.#refused(task, 'result', refusal, then),
        onTrouble: (error) => say({ event: 'trouble', what: `looking what became of the report on ${id}`, error }),
        stopping,
      },
    )
  }

  #refused({ id, epoch }: Task, what: 'progress' | 'result', refusal: ReportRefusal, then: AfterRefusal): void {
    if (then === 'not_taken_again') this.#setAside.add(id)
    this.#parts.say({ event: 'refused', task: id, epoch, what, why: refusal.refused, code: refusal.code, then })
  }

  /** Puts a report into the outbox, and retries on a full disk, so that the result is not lost. */
  async #put(session: SessionId, report: Report): Promise<string> {
    const { clock, chance, reports, say, stopping } = this.#parts
    const pauses = new Pauses(RETRY, chance)
    for (;;) {
      try {
        return await reports.put(session, report)
      } catch (error) {
        if (stopping.aborted) throw error
        if (pauses.failures === 0) say({ event: 'trouble', what: `keeping the report on ${report.task}`, error })
        await pauses.wait(clock, stopping)
      }
    }
  }

  /** Reads new messages; a revoked task has its lease checked at once. Answers whether a task was assigned. */
  async #readMail(): Promise<boolean> {
    const sessions = (await this.#parts.sessions()).map(({ session }) => session)
    const { assigned, revoked } = await this.#parts.taskMessages.take(sessions)
    if (this.#current !== null && revoked.includes(this.#current.task)) this.#current.renewer.nudge()
    return assigned.length > 0
  }
}

function reasonOf(status: LeaseStatus): StopReason | null {
  return status === 'held' ? null : status === 'lost' ? 'lease_lost' : 'lease_unsure'
}

/** A command that cannot be started has failed: the task ends with the reason instead of being tried for ever. */
function endOfFailedStart(error: unknown): CommandEnd {
  return { exitCode: null, signal: null, tail: `the command could not be started: ${(error as Error).message}` }
}

/** The last line of output: the first is reported at once, later ones at most every `everyMs`. */
class Progress {
  readonly #everyMs: number
  readonly #clock: Clock
  #line: string | null = null
  #reportedAt = Number.NEGATIVE_INFINITY

  constructor(everyMs: number, clock: Clock) {
    this.#everyMs = everyMs
    this.#clock = clock
  }

  /** Notes a line. Answers whether it is time to report. */
  note(line: string): boolean {
    if (line.trim() === '') return false
    const isFirst = this.#line === null
    this.#line = textHead(line.trim(), PROGRESS_MAX)
    return isFirst || this.#clock.now() - this.#reportedAt >= this.#everyMs
  }

  /** The line to report: one that has no end yet, where there is one, is the last. */
  take(openLine = ''): string | null {
    this.#reportedAt = this.#clock.now()
    return openLine.trim() === '' ? this.#line : textHead(openLine.trim(), PROGRESS_MAX)
  }
}
