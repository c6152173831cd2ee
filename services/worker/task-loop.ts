import type { SessionId } from '#fleet/session.ts'
import { PROGRESS_MAX, type Report, TAIL_MAX, type Task } from '#fleet/task.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { Loop } from '#runtime/loop.ts'
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

/** What letters said of tasks. */
export interface TaskNews {
  readonly assigned: readonly string[]
  readonly revoked: readonly string[]
}

/** The letters about tasks among what comes in. */
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

const RETRY = { firstMs: 500, mostMs: 30_000 }
/** How long to wait between looks at a report that is being carried. */
const CARRY = { firstMs: 20, mostMs: 1_000 }

/**
 * Works on the tasks of its sessions, one at a time, until it is told to end. A task is leased before its command is
 * started and renewed while it lives; the command is ended before the lease can end for anybody else.
 */
export class TaskLoop {
  readonly #config: TaskLoopConfig
  readonly #parts: TaskLoopParts
  readonly #over = new AbortController()
  #lives = 0
  #failures = 0
  #current: { readonly task: string; readonly renewer: LeaseRenewer } | null = null
  #wasIdle = false

  constructor(config: TaskLoopConfig, parts: TaskLoopParts) {
    this.#config = config
    this.#parts = parts
  }

  /** Settles when it has been told to end and nothing is in hand, or when no work is left (`once`). Never rejects. */
  async work(): Promise<void> {
    const { draining, taskMessages, clock, chance } = this.#parts
    const end = (): void => this.#over.abort()
    if (draining.aborted) return
    draining.addEventListener('abort', end, { once: true })
    const tasks = new Loop({
      clock,
      signal: this.#over.signal,
      step: () => this.#lookForWork(),
      onError: (error) => {
        this.#parts.say({ event: 'trouble', what: 'asking for work', error })
        this.#failures += 1
        return RETRY.firstMs + backoff(this.#failures - 1, RETRY, chance)
      },
    })
    const post = new Loop({
      clock,
      signal: this.#over.signal,
      step: async () => {
        if (await this.#readLetters()) tasks.nudge()
        return this.#config.pollMs
      },
      onError: (error) => {
        this.#parts.say({ event: 'trouble', what: 'reading the inbox', error })
        return RETRY.firstMs + backoff(0, RETRY, chance)
      },
    })
    using _news = taskMessages.onNews(() => post.nudge())
    await Promise.all([tasks.done, post.done])
    draining.removeEventListener('abort', end)
  }

  /** One task, if there is any; answers milliseconds until the next look. */
  async #lookForWork(): Promise<number> {
    const { chance, reports } = this.#parts
    const seats = await this.#parts.sessions()
    const sessions = seats.map(({ session }) => session)
    // An end that waits to be carried belongs to a task that the store still counts as ours: leasing it anew would do it twice.
    const waitingReports = await reports.waiting(sessions)
    if (waitingReports > 0) {
      this.#sayIdle({ event: 'idle', waitingReports })
      return CARRY.mostMs
    }
    const leased = await this.#lease(seats)
    this.#failures = 0
    if (leased !== null) {
      this.#wasIdle = false
      await this.#perform(leased)
      return 0
    }
    if (seats.length === 0) return RETRY.firstMs
    this.#sayIdle({ event: 'idle' })
    if (this.#config.once) this.#over.abort()
    return this.#config.pollMs * (0.9 + 0.2 * chance())
  }

  /** A task of any seat; null when nobody has one. Throws when no seat could ask. */
  async #lease(seats: readonly WorkerSession[]): Promise<Leased | null> {
    const faults: unknown[] = []
    for (const seat of seats) {
      const asked = LeaseTimer.stamp(this.#parts.clock)
      try {
        const answer = seat.store.leaseTask(seat.session, this.#incarnation())
        const task = await unlessAborted(answer, this.#parts.draining)
        if (task !== null) return { ...seat, task, asked }
      } catch (error) {
        // One that is refused (its conversation has ended, say) must not keep the others from working.
        faults.push(error)
      }
    }
    if (seats.length > 0 && faults.length === seats.length) throw faults[0]
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
    const told = Promise.withResolvers<StopReason>()
    const onStop = (): void => told.resolve('told_to_stop')
    if (stopping.aborted) onStop()
    stopping.addEventListener('abort', onStop, { once: true })
    const stopped = Promise.race([told.promise, renewer.over.then(reasonOf)])
    const ended = running.ended.catch(endOfUnstartable)
    try {
      const first = await Promise.race([ended.then((): null => null), stopped])
      // The process may have slept through its lease, and the command's end be the first thing it hears of.
      if (first === null) await renewer.standing()
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
    for (let look = 0; !stopping.aborted; look += 1) {
      const carried = await reports.carried(name)
      if (carried === 'carried') return say({ event: 'reported', task: id, epoch, state })
      if (carried !== 'waiting') return say({ event: 'refused', task: id, epoch, why: carried.refused })
      const waitMs = CARRY.firstMs + backoff(look, CARRY, chance)
      await clock.sleep(waitMs, stopping).catch(() => undefined)
    }
  }

  /** Puts a report where it is durable. A disk that is full just now must not cost what was done: it is tried again. */
  async #put(session: SessionId, report: Report): Promise<string> {
    const { clock, chance, reports, say, stopping } = this.#parts
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await reports.put(session, report)
      } catch (error) {
        if (stopping.aborted) throw error
        if (attempt === 0) say({ event: 'trouble', what: `keeping the report on ${report.task}`, error })
        await clock.sleep(RETRY.firstMs + backoff(attempt, RETRY, chance), stopping).catch(() => undefined)
      }
    }
  }

  /** Reads what came; a task that was taken away is asked about at once. Answers whether there is work to look for. */
  async #readLetters(): Promise<boolean> {
    const sessions = (await this.#parts.sessions()).map(({ session }) => session)
    const { assigned, revoked } = await this.#parts.taskMessages.take(sessions)
    if (this.#current !== null && revoked.includes(this.#current.task)) this.#current.renewer.nudge()
    return assigned.length > 0
  }
}

function reasonOf(standing: LeaseStatus): StopReason | null {
  return standing === 'held' ? null : standing === 'lost' ? 'lease_lost' : 'lease_unsure'
}

/** Waits no longer than the signal lets it: null then. What was granted meanwhile is taken over by the next life. */
async function unlessAborted<T>(asked: Promise<T>, signal: AbortSignal): Promise<T | null> {
  const aborted = Promise.withResolvers<null>()
  const onAbort = (): void => aborted.resolve(null)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await Promise.race([asked, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
    asked.catch(() => undefined)
  }
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
  #toldAt = Number.NEGATIVE_INFINITY

  constructor(everyMs: number, clock: Clock) {
    this.#everyMs = everyMs
    this.#clock = clock
  }

  /** Notes a line; answers whether it is time to tell. */
  note(line: string): boolean {
    if (line.trim() === '') return false
    const isFirst = this.#line === null
    this.#line = line.trim().slice(0, PROGRESS_MAX)
    return isFirst || this.#clock.now() - this.#toldAt >= this.#everyMs
  }

  take(): string | null {
    this.#toldAt = this.#clock.now()
    return this.#line
  }
}
