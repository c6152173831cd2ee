import { textTail } from '#fleet/cut-text.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isSpokenFor } from '#fleet/speakers.ts'
import { type Report, TAIL_MAX, type Task } from '#fleet/task.ts'
import { isMeantFor, type StopOrder } from '#fleet/task-messages.ts'
import { mayBeNamed } from '#fleet/task-names.ts'
import { type BackoffLimits, Pauses } from '#runtime/backoff.ts'
import { LATE, waitAtMost, waitUnlessAborted } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { AgentWords } from './agent-words.ts'
import { type ReportOutcome, reportEnd } from './end-report.ts'
import { type LeaseStamp, LeaseTimer } from './lease-timer.ts'
import { LeftEnds } from './left-ends.ts'
import { NotNowTasks } from './not-now-tasks.ts'
import type { PlaceFault, PlaceJudge } from './place-fault.ts'
import { PlaceWatch } from './place-watch.ts'
import { QuickFailures } from './quick-failures.ts'
import type { AfterRefusal, ReportRefusal } from './refused-reports.ts'
import { type EndedRun, judgeRun, type RunVerdict } from './run-verdict.ts'
import type { CommandEnd, StartCommand } from './running-command.ts'
import { SpokenForSessions } from './spoken-for-sessions.ts'
import { type RunResult, TaskRun } from './task-run.ts'
import type { WorkEvent } from './work-event.ts'
import type { LeasedTask, WorkerSession } from './worker-session.ts'

export interface TaskLoopConfig {
  readonly leaseMs: number
  /** How often it asks for work without a message. */
  readonly pollMs: number
  /** The shortest time between two reports of progress. */
  readonly progressMs: number
  /** How soon a failure of a command may be one of the place; 0: never. */
  readonly quickFailureMs: number
  /** Whether it ends when no work is left. */
  readonly once: boolean
}

/** Keeps reports durably and in order until they are sent to the store. */
export interface Reports {
  put(holder: SessionId, report: Report): Promise<string>
  /** What became of one that was put. */
  carried(name: string): Promise<ReportOutcome>
  /** The number of these sessions' final reports that still wait. */
  waiting(sessions: readonly SessionId[]): Promise<number>
}

/** What messages say of tasks: which are assigned, and which are to stop; each by its id, or by its giver's name for it. */
export interface TaskNews {
  readonly assigned: readonly string[]
  readonly revoked: readonly Omit<StopOrder, 'is'>[]
}

/** The messages about tasks in the inbox. */
export interface TaskMailbox {
  /** Takes them out of the inbox and answers their content. */
  take(sessions: readonly SessionId[]): Promise<TaskNews>
  /** Calls back when a message may have come. */
  onNews(heard: () => void): Disposable
}

/** A task whose command has ended. */
interface EndedTask extends Pick<RunResult, 'progress' | 'usage'>, Pick<LeasedTask, 'task' | 'session'> {
  readonly end: CommandEnd
  /** What the end means; null for a command that was stopped. */
  readonly verdict: RunVerdict | null
  /** Whether the task was taken away, so that the report is refused. */
  readonly isLost: boolean
}

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
  readonly words: AgentWords
  readonly judge: PlaceJudge
  /** Looks what is wrong with this place before a task is asked for; null: nothing. Absent where nothing can be seen. */
  look?(): PlaceFault | null
  say(event: WorkEvent): void
  /** Aborts when no further task is to be taken. */
  readonly draining: AbortSignal
  /** Aborts when the current task is to be given up too. */
  readonly stopping: AbortSignal
}

const RETRY = { firstMs: 500, mostMs: 30_000, leastMs: 500 }
/** The inbox is a folder of this host: what keeps it from being read passes soon or not at all. */
const MAIL_RETRY = { firstMs: 500, mostMs: 500, leastMs: 500 }
/** How many of the tasks that it does not take are named to the store, which takes twice as many. */
const PASSING_MAX = 500
/** How often it looks whether reports still wait in the outbox. */
const WAITING_MS = 1_000
/** How long the fleet's last word of this place may take when the loop is over. */
const LAST_WORD_MS = 2_000

/**
 * Works on the tasks of its sessions, one at a time, until it is told to end. A task is leased before its command starts and
 * renewed while the command runs; the command is ended before another agent can get the lease. While no command can work in this
 * place nothing is leased.
 */
export class TaskLoop {
  readonly #config: TaskLoopConfig
  readonly #parts: TaskLoopParts
  readonly #over = new AbortController()
  readonly #troubles = new KnownTroubles()
  readonly #place: PlaceWatch
  readonly #quick: QuickFailures
  readonly #notNow = new NotNowTasks()
  readonly #leftEnds: LeftEnds
  #conditions: RetryLoop | null = null
  readonly #spokenFor: SpokenForSessions
  #runs = 0
  #current: TaskRun | null = null
  #wasIdle = false
  /** Tasks whose reports the bridge takes in no form: done again, they would only be refused again. */
  readonly #setAside = new Set<string>()
  /** When a task was first asked for by a request whose answer is not known: it may have been granted then. */
  readonly #unanswered = new Map<SessionId, LeaseStamp>()
  /** What was begun last for each session: the same epoch of a task is never begun twice. */
  readonly #begun = new Map<SessionId, string>()

  constructor(config: TaskLoopConfig, parts: TaskLoopParts) {
    const { clock, say } = parts
    this.#config = config
    this.#parts = parts
    this.#place = new PlaceWatch({ ...parts, onChange: () => this.#conditions?.retry() })
    this.#quick = new QuickFailures(config.quickFailureMs)
    this.#leftEnds = new LeftEnds(parts)
    this.#spokenFor = new SpokenForSessions({
      clock,
      onBegin: (session, error) => say({ event: 'trouble', what: `no work is taken for ${session}`, error }),
    })
  }

  /** Why no command can work here now; null where one may be tried. */
  get fault(): PlaceFault | null {
    return this.#place.fault
  }

  /** Settles when it was told to end and has no task, or when no work is left or can be done (`once`). Never rejects. */
  async work(): Promise<void> {
    const { draining, taskMessages } = this.#parts
    const end = (): void => this.#over.abort()
    if (draining.aborted) return
    draining.addEventListener('abort', end, { once: true })
    let isAway = true
    const tasks = this.#repeat('asking for work', RETRY, () =>
      this.#lookForWork(() => {
        const isBack = isAway || tasks.failing
        isAway = false
        tasks.succeeded()
        if (isBack) conditions.retry()
      }),
    )
    const mail = this.#repeat('reading the inbox', MAIL_RETRY, async () => {
      if (await this.#readMail()) {
        this.#spokenFor.askAtOnce()
        tasks.retry() // an assignment came in, so the bridge answers again
      }
      return this.#config.pollMs
    })
    const conditions = this.#repeat('telling the fleet of this place', RETRY, async () => {
      // A bridge that is away is asked for work, and not for this too, as long as there is nothing that it should know.
      if (this.fault !== null || !(isAway || tasks.failing))
        await waitUnlessAborted(this.#tellFleet(), this.#over.signal)
      return this.#config.pollMs
    })
    this.#conditions = conditions
    using _news = taskMessages.onNews(() => mail.retry())
    await Promise.all([tasks.done, mail.done, conditions.done])
    draining.removeEventListener('abort', end)
    await this.#tellFleetLast()
  }

  /** Where another life speaks for a session, its place is the one that counts. */
  async #tellFleet(): Promise<void> {
    const sessions = await this.#parts.sessions()
    await this.#place.tell(sessions.filter(({ session }) => !this.#spokenFor.has(session)))
  }

  async #tellFleetLast(): Promise<void> {
    const { clock, stopping } = this.#parts
    if (!stopping.aborted) await waitAtMost(this.#tellFleet(), LAST_WORD_MS, clock, stopping).catch(() => undefined)
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
    const restMs = this.#place.restMs()
    if (restMs > 0) {
      this.#wasIdle = false
      if (this.#config.once) this.#over.abort()
      return restMs
    }
    const sessions = await this.#parts.sessions()
    const ids = sessions.map(({ session }) => session)
    // The task of a report that waits is still leased to this session in the store: to lease it again would do it twice.
    await this.#leftEnds.report(ids)
    const waitingReports = await reports.waiting(ids)
    if (waitingReports > 0) {
      this.#sayIdle({ event: 'idle', waitingReports })
      return WAITING_MS
    }
    const leased = await this.#lease(sessions)
    onAnswered()
    if (leased !== null) {
      this.#wasIdle = false
      await this.#begin(leased)
      return 0
    }
    if (sessions.length === 0) return RETRY.firstMs
    this.#sayIdle({ event: 'idle' })
    if (this.#config.once) this.#over.abort()
    return this.#config.pollMs * (0.9 + 0.2 * chance())
  }

  /** Leases a task; one that has just failed here within moments, or that was given back, only where there is no other. */
  async #lease(sessions: readonly WorkerSession[]): Promise<LeasedTask | null> {
    const setAside = [...this.#setAside].slice(-PASSING_MAX)
    const justFailed = [...this.#notNow.tasks, ...this.#quick.tasks].slice(-PASSING_MAX)
    const leased = await this.#leaseAny(sessions, [...setAside, ...justFailed])
    return leased !== null || justFailed.length === 0 ? leased : await this.#leaseAny(sessions, setAside)
  }

  /** Leases a task of any session; null when none has one. Throws when every session failed to ask. */
  async #leaseAny(sessions: readonly WorkerSession[], passing: readonly string[]): Promise<LeasedTask | null> {
    const faults: unknown[] = []
    for (const each of sessions) {
      const standing = this.#spokenFor.standing(each.session)
      if (standing !== null) {
        faults.push(standing)
        continue
      }
      const asked = this.#unanswered.get(each.session) ?? LeaseTimer.stamp(this.#parts.clock)
      this.#unanswered.set(each.session, asked)
      try {
        const byHand = (await each.byHand?.()) ?? []
        const left = byHand.length === 0 ? passing : [...passing, ...byHand]
        const answer = each.store.leaseTask(each.session, this.#incarnation(), left, each.place)
        // A task that is granted after an aborted wait is taken over by the next run.
        const task = await waitUnlessAborted(answer, this.#parts.draining)
        if (task === LATE) continue
        this.#unanswered.delete(each.session)
        this.#spokenFor.noteAnswer(each.session)
        if (task !== null) return { ...each, task, asked }
      } catch (error) {
        if (error instanceof S2Error && !isPassing(error)) this.#unanswered.delete(each.session)
        // A session that is refused (its conversation has ended, for example) must not keep the others from working.
        this.#spokenFor.noteError(each.session, error)
        faults.push(error)
      }
    }
    // That another place speaks for a session is said of each: it must not hide what else is wrong.
    if (sessions.length > 0 && faults.length === sessions.length)
      throw faults.find((fault) => !isSpokenFor(fault)) ?? faults[0]
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

  /** Begins a task, unless this very epoch of it was begun before: then its end was not taken, and the next run takes it over. */
  async #begin(leased: LeasedTask): Promise<void> {
    const { task, session } = leased
    const key = `${task.id}@${task.epoch}`
    if (this.#begun.get(session) === key) {
      this.#runs += 1
      return
    }
    this.#begun.set(session, key)
    await this.#perform(leased)
  }

  async #perform(leased: LeasedTask): Promise<void> {
    const { leaseMs, progressMs } = this.#config
    const onRefused = (refusal: ReportRefusal): void =>
      this.#refused(leased.task, 'progress', refusal, 'told_without_text')
    await using run = new TaskRun(leased, { leaseMs, progressMs }, { ...this.#parts, onRefused })
    this.#current = run
    try {
      await this.#conclude(leased, await run.toTheEnd())
      await this.#parts.words.forget({ task: leased.task.id }).catch(() => undefined)
    } finally {
      this.#current = null
    }
  }

  async #conclude({ task, session }: LeasedTask, { ended, stopped, refusal, ...rest }: RunResult): Promise<void> {
    if (stopped === 'lease_unsure' && refusal !== null) this.#refused(task, 'progress', refusal, 'not_taken_again')
    if (stopped === 'lease_unsure' || stopped === 'told_to_stop') this.#runs += 1
    else if (ended !== null) {
      const verdict = stopped === null ? this.#judge(task, ended) : null
      await this.#report({ task, session, end: ended.end, ...rest, verdict, isLost: stopped === 'lease_lost' })
    }
  }

  /** What a run means for its task and this place. */
  #judge(task: Task, run: EndedRun): RunVerdict {
    const verdict = judgeRun(task, run, this.#parts.judge, { quick: this.#quick, notNow: this.#notNow })
    this.#place.note(verdict)
    return verdict
  }

  /**
   * Reports the end, and keeps the lease until the report is sent. After a lost lease it reports too: the store refuses the
   * report by its epoch, and keeps it as evidence of work that was done twice.
   */
  async #report({ task, session, end, progress, usage, verdict, isLost }: EndedTask): Promise<void> {
    const { clock, chance, reports, say, stopping } = this.#parts
    const { id, epoch } = task
    const { exitCode, signal } = end
    const returned = verdict?.state === 'returned' ? verdict : null
    const state = verdict?.state ?? (exitCode === 0 ? 'completed' : 'failed')
    const result = { exitCode, signal, tail: textTail(returned?.why ?? end.tail, TAIL_MAX) }
    const cause = returned === null ? {} : { cause: returned.cause }
    await reportEnd(
      { task: id, epoch, state, progress, result, ...cause, ...(usage === undefined ? {} : { usage }) },
      {
        clock,
        chance,
        put: (report) => this.#put(session, report),
        outcome: (name) => reports.carried(name),
        onReported: () =>
          say(
            returned === null
              ? { event: 'reported', task: id, epoch, state }
              : { event: 'returned', task: id, epoch, cause: returned.cause, why: returned.why },
          ),
        onRefused: (refusal, then) =>
          this.#refused(task, 'result', refusal, isLost && then === 'nothing' ? 'expected' : then),
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
    const current = this.#current
    for (const order of revoked)
      if (current !== null && mayBeNamed(current.task, order.task) && isMeantFor(order, current.epoch))
        current.revoke(order.reason)
    return assigned.length > 0
  }
}
