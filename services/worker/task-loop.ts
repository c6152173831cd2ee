import type { SessionId } from '#fleet/session.ts'
import { PROGRESS_MAX, type Report, TAIL_MAX, type Task } from '#fleet/task.ts'
import { Pauses } from '#runtime/backoff.ts'
import { LATE, waitUnlessAborted } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'
import { LeaseRenewer, type LeaseStatus } from './lease-renewer.ts'
import { type LeaseStamp, LeaseTimer, marginOf } from './lease-timer.ts'

/** How an agent works. */
export interface TaskLoopConfig {
  readonly leaseMs: number
  /** How often it asks for work when it heard nothing. */
  readonly pollMs: number
  /** The least time between two reports of progress. */
  readonly progressMs: number
  /** Ends when there is no work left. */
  readonly once: boolean
}

/** A session that the agent works for, and where its tasks are. */
export interface WorkerSession {
  readonly session: SessionId
  readonly store: Pick<Store, 'leaseTask' | 'report'>
}

/** What came of a report that was handed over. */
export type ReportOutcome = 'waiting' | 'carried' | { readonly refused: string }

/** Keeps reports until they have been carried to the store: durable, and in order. */
export interface Reports {
  put(holder: SessionId, report: Report): Promise<string>
  carried(name: string): Promise<ReportOutcome>
  /** How many of these sessions' reports still wait. */
  waiting(sessions: readonly SessionId[]): Promise<number>
}

/** What messages said of tasks. */
export interface TaskNews {
  readonly assigned: readonly string[]
  readonly revoked: readonly string[]
}

/** The messages about tasks among what comes in. */
export interface TaskMailbox {
  /** Takes them out of the inbox and answers what they said. */
  take(sessions: readonly SessionId[]): Promise<TaskNews>
  /** Calls back when something came. */
  onNews(heard: () => void): Disposable
}

/** A command at work on a task. */
export interface RunningCommand {
  /** Settles when the command and all its children have ended. Rejects when it could not be started. */
  readonly ended: Promise<CommandEnd>
  /** Ends it: TERM, and KILL to the whole group after this time. */
  stop(graceMs: number): void
}

export interface CommandEnd {
  readonly exitCode: number | null
  readonly signal: string | null
  readonly tail: string
}

export type StartCommand = (task: Task, onLine: (line: string) => void) => RunningCommand

/** What happens, for people and logs. */
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
  | { readonly event: 'refused'; readonly task: string; readonly epoch: number; readonly why: string }
  | { readonly event: 'stopping'; readonly task: string; readonly epoch: number; readonly why: StopReason }
  | { readonly event: 'trouble'; readonly what: string; readonly error: unknown }

/** Why a command is ended: the store gave its task away, nobody could be asked in time, or the agent shall end. */
export type StopReason = 'lease_lost' | 'lease_unsure' | 'told_to_stop'

export interface TaskLoopParts {
  readonly clock: Clock
  readonly chance: Chance
  /** One life of this agent, as no other one is called. */
  readonly life: string
  /** The sessions to work for just now; none while there are no credentials. */
  sessions(): Promise<readonly WorkerSession[]>
  readonly reports: Reports
  readonly taskMessages: TaskMailbox
  readonly start: StartCommand
  say(event: WorkEvent): void
  /** Aborts when no further task shall be taken. */
  readonly draining: AbortSignal
  /** Aborts when the task in hand shall be given up too. */
  readonly stopping: AbortSignal
}

/** A task in hand, and when it was asked for. */
interface Leased extends WorkerSession {
  readonly task: Task
  readonly asked: LeaseStamp
}

const RETRY = { firstMs: 500, mostMs: 30_000, leastMs: 500 }
/** How long to wait between looks at a report that is being carried. */
const CARRY = { firstMs: 20, mostMs: 1_000, leastMs: 20 }

/**
 * Works on the tasks of its sessions, one at a time, until it is told to end. A task is leased before its command is
 * started and renewed while it lives; the command is ended before the lease can end for anybody else.
 */
export class TaskLoop {
  readonly #config: TaskLoopConfig
  readonly #parts: TaskLoopParts
  readonly #over = new AbortController()
  readonly #troubles = new KnownTroubles()
  #lives = 0
  #current: { readonly task: string; readonly renewer: LeaseRenewer } | null = null
  #wasIdle = false

  constructor(config: TaskLoopConfig, parts: TaskLoopParts) {
    this.#config = config
    this.#parts = parts
  }

  /** Settles when it has been told to end and nothing is in hand, or when no work is left (`once`). Never rejects. */
  async work(): Promise<void> {
    const { draining, taskMessages } = this.#parts
    const end = (): void => this.#over.abort()
    if (draining.aborted) return
    draining.addEventListener('abort', end, { once: true })
    const tasks = this.#repeat('asking for work', () => this.#lookForWork())
    const mail = this.#repeat('reading the inbox', async () => {
      if (await this.#readMail()) tasks.nudge()
      return this.#config.pollMs
    })
    using _news = taskMessages.onNews(() => mail.nudge())
    await Promise.all([tasks.done, mail.done])
    draining.removeEventListener('abort', end)
  }

  /** Repeats a step until the loop is over; a trouble that lasts is said once. */
  #repeat(what: string, step: () => Promise<number>): RetryLoop {
    const { clock, chance, say } = this.#parts
    return new RetryLoop({
      clock,
      chance,
      signal: this.#over.signal,
      limits: RETRY,
      step,
      onTrouble: (error) => {
        if (this.#troubles.isNew(what, String(error))) say({ event: 'trouble', what, error })
      },
      onWell: () => void this.#troubles.isOver(what),
    })
  }

  /** One task, if there is any; answers milliseconds until the next look. */
  async #lookForWork(): Promise<number> {
    const { chance, reports } = this.#parts
    const sessions = await this.#parts.sessions()
    const ids = sessions.map(({ session }) => session)
    // An end that waits to be carried belongs to a task that the store still counts as ours: leasing it anew would do it twice.
    const waitingReports = await reports.waiting(ids)
    if (waitingReports > 0) {
      this.#sayIdle({ event: 'idle', waitingReports })
      return CARRY.mostMs
    }
    const leased = await this.#lease(sessions)
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

  /** A task of any session; null when none has one. Throws when no session could ask. */
  async #lease(sessions: readonly WorkerSession[]): Promise<Leased | null> {
    const faults: unknown[] = []
    for (const each of sessions) {
      const asked = LeaseTimer.stamp(this.#parts.clock)
      try {
        const answer = each.store.leaseTask(each.session, this.#incarnation())
        // What was granted after the wait was given up is taken over by the next life.
        const task = await waitUnlessAborted(answer, this.#parts.draining)
        if (task !== null && task !== LATE) return { ...each, task, asked }
      } catch (error) {
        // One that is refused (its conversation has ended, say) must not keep the others from working.
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

  /** Giving up a task that the store may still count as ours ends a life: the next one takes it over with a new epoch. */
  #incarnation(): string {
    return this.#lives === 0 ? this.#parts.life : `${this.#parts.life}.${this.#lives}`
  }

  async #perform({ task, session, store, asked }: Leased): Promise<void> {
    const { clock, chance, say, stopping } = this.#parts
    const { leaseMs } = this.#config
    const { id, epoch } = task
    const progress = new Progress(this.#config.progressMs, clock)
    let troubled = false
    await using renewer = new LeaseRenewer({
      clock,
      chance,
      leaseMs,
      asked,
      renew: async () => {
        await store.report(session, { task: id, epoch, state: 'in_progress', progress: progress.take(), result: null })
        troubled = false
      },
      onTrouble: (error) => {
        if (!troubled) say({ event: 'trouble', what: `renewing the lease of ${id}`, error })
        troubled = true
      },
    })
    this.#current = { task: id, renewer }
    say({ event: 'started', task: id, epoch, priority: task.priority })
    renewer.nudge()
    const running = this.#parts.start(task, (line) => {
      say({ event: 'output', task: id, line })
      if (progress.note(line)) renewer.nudge()
    })
    const toldToStop = Promise.withResolvers<StopReason>()
    const onStop = (): void => toldToStop.resolve('told_to_stop')
    if (stopping.aborted) onStop()
    stopping.addEventListener('abort', onStop, { once: true })
    const stopped = Promise.race([toldToStop.promise, renewer.over.then(reasonOf)])
    const ended = running.ended.catch(endOfUnstartable)
    try {
      const first = await Promise.race([ended.then((): null => null), stopped])
      // The process may have slept through its lease, and the command's end be the first thing it hears of.
      if (first === null) await renewer.status()
      if (first !== null) {
        say({ event: 'stopping', task: id, epoch, why: first })
        running.stop(marginOf(leaseMs) / 3)
      }
      const end = await ended
      say({ event: 'ended', task: id, epoch, exitCode: end.exitCode, signal: end.signal })
      if (first === 'lease_unsure' || first === 'told_to_stop') this.#lives += 1
      else await this.#report(task, session, end)
    } finally {
      stopping.removeEventListener('abort', onStop)
      this.#current = null
    }
  }

  /**
   * Hands the end over, and waits until it has been carried: until then the lease is kept. Where the lease is lost the
   * end is told all the same: the store refuses it by its epoch, and keeps it as evidence of what was done twice.
   */
  async #report(task: Task, session: SessionId, end: CommandEnd): Promise<void> {
    const { clock, chance, reports, say, stopping } = this.#parts
    const { id, epoch } = task
    const state = end.exitCode === 0 ? 'completed' : 'failed'
    const result = { exitCode: end.exitCode, signal: end.signal, tail: end.tail.slice(-TAIL_MAX) }
    const name = await this.#put(session, { task: id, epoch, state, progress: null, result })
    const pauses = new Pauses(CARRY, chance)
    while (!stopping.aborted) {
      const carried = await reports.carried(name)
      if (carried === 'carried') return say({ event: 'reported', task: id, epoch, state })
      if (carried !== 'waiting') return say({ event: 'refused', task: id, epoch, why: carried.refused })
      await pauses.wait(clock, stopping)
    }
  }

  /** Puts a report where it is durable. A disk that is full just now must not cost what was done: it is tried again. */
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

  /** Reads what came; a task that was taken away is asked about at once. Answers whether there is work to look for. */
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

/** A command that cannot be started has failed: the task ends with the reason, and is not tried for ever. */
function endOfUnstartable(error: unknown): CommandEnd {
  return { exitCode: null, signal: null, tail: `the command could not be started: ${(error as Error).message}` }
}

/** The last line of output: the first one is told at once, later ones no more often than every so many milliseconds. */
class Progress {
  readonly #everyMs: number
  readonly #clock: Clock
  #line: string | null = null
  #reportedAt = Number.NEGATIVE_INFINITY

  constructor(everyMs: number, clock: Clock) {
    this.#everyMs = everyMs
    this.#clock = clock
  }

  /** Notes a line; answers whether it is time to tell. */
  note(line: string): boolean {
    if (line.trim() === '') return false
    const isFirst = this.#line === null
    this.#line = line.trim().slice(0, PROGRESS_MAX)
    return isFirst || this.#clock.now() - this.#reportedAt >= this.#everyMs
  }

  take(): string | null {
    this.#reportedAt = this.#clock.now()
    return this.#line
  }
}
