import assert from 'node:assert/strict'
import { S2Error } from '../../services/core/fleet/errors.ts'
import { type SessionId, sessionId } from '../../services/core/fleet/session-id.ts'
import type { Report } from '../../services/core/fleet/task.ts'
import type { Usage } from '../../services/core/fleet/usage.ts'
import type { SaidOfTask } from '../../services/core/spool/running-tasks.ts'
import { openMemoryStore } from '../../services/core/store/memory/memory.ts'
import type { ReportOutcome } from '../../services/worker/end-report.ts'
import type { PlaceFault, PlaceJudge } from '../../services/worker/place-fault.ts'
import type { CommandEnd, RunningCommand } from '../../services/worker/running-command.ts'
import { type Reports, TaskLoop, type TaskMailbox } from '../../services/worker/task-loop.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import type { WorkerSession } from '../../services/worker/worker-session.ts'
import { ManualClock } from '../manual-clock.ts'

export const LEASE_MS = 60_000

/** One agent over a memory store, with a command and a network that do what the test says. */
export class Bench {
  readonly clock = new ManualClock()
  readonly store = openMemoryStore({ clock: this.clock })
  readonly events: WorkEvent[] = []
  readonly draining = new AbortController()
  readonly stopping = new AbortController()
  /** The commands that were started, newest last. */
  readonly commands: FakeCommand[] = []
  /** What the network does to each question; null lets it pass. */
  fault: (() => Promise<never>) | null = null
  /** How long each answer takes. */
  slowMs = 0
  /** When the last renewal was asked for that was granted. */
  renewalAskedAt = Number.NaN
  /** The words that reached the store, in order. */
  readonly words: string[] = []
  /** Whether somebody carries what is reported. */
  carries = true
  /** Whether the disk takes anything. */
  full = false
  readonly outbox: { holder: SessionId; report: Report; outcome: ReportOutcome }[] = []
  assigned: string[] = []
  revoked: { task: string; epoch: number | null; reason: string }[] = []
  /** Seats before the agent's own. */
  extra: WorkerSession[] = []
  heard: () => void = () => undefined
  /** Whether failures within moments count. */
  quickFailureMs = 0
  judge: PlaceJudge = () => null
  /** What is seen to be wrong with the place. */
  seen: string | null = null
  /** What the agent of the task at hand has said of it. */
  said: SaidOfTask | null = null
  say: (words: Partial<SaidOfTask>) => void = () => assert.fail('nobody listens')
  /** What agents said in a former run. */
  left: SaidOfTask[] = []
  worker: SessionId = 'conv_x/b'
  other: SessionId = 'conv_y/b'

  async open(): Promise<void> {
    const roles = { a: 'orchestrator', b: 'tests' }
    const lifetimeMs = 86_400_000
    const first = await this.store.openConversation({ roles, agents: { a: 'o', b: 'w1' }, lifetimeMs })
    const second = await this.store.openConversation({ roles, agents: { a: 'o', b: 'w2' }, lifetimeMs })
    this.worker = sessionId(first.id, 'b')
    this.other = sessionId(second.id, 'b')
  }

  async add(id: string, priority: 'P0' | 'P2' = 'P2'): Promise<void> {
    await this.store.addTask({
      id,
      description: `do ${id}`,
      priority,
      role: null,
      holder: this.worker,
      deadline: null,
      createdBy: null,
    })
  }

  async move(id: string): Promise<void> {
    const { epoch } = await this.store.task(id)
    assert.equal(await this.store.move({ task: id, epoch, to: this.other, reason: 'silent' }), true)
  }

  start(runId: string, once = false): { done: Promise<void>; loop: TaskLoop } {
    const network = async <T>(asked: () => Promise<T>): Promise<T> => {
      if (this.fault !== null) return await this.fault()
      if (this.slowMs > 0) await this.clock.sleep(this.slowMs)
      return await asked()
    }
    const store: WorkerSession['store'] = {
      leaseTask: (...asked) => network(() => this.store.leaseTask(...asked)),
      noteCondition: (...said) => network(() => this.store.noteCondition(...said)),
      report: async (holder, report) => {
        const askedAt = this.clock.now()
        this.words.push(report.state)
        const task = await network(() => this.store.report(holder, report))
        this.renewalAskedAt = askedAt
        return task
      },
    }
    const reports: Reports = {
      put: async (holder, report) => {
        if (this.full) throw new S2Error('unavailable', 'the disk is full')
        this.outbox.push({ holder, report, outcome: 'waiting' })
        await this.carry()
        return String(this.outbox.length - 1)
      },
      carried: async (name) => this.outbox[Number(name)]?.outcome ?? 'unknown',
      waiting: async () => this.outbox.filter(({ outcome }) => outcome === 'waiting').length,
    }
    const taskMessages: TaskMailbox = {
      take: async () => ({ assigned: this.assigned.splice(0), revoked: this.revoked.splice(0) }),
      onNews: (heard) => {
        this.heard = heard
        return { [Symbol.dispose]: () => undefined }
      },
    }
    const agent = new TaskLoop(
      { leaseMs: LEASE_MS, pollMs: 30_000, progressMs: 5_000, quickFailureMs: this.quickFailureMs, once },
      {
        clock: this.clock,
        chance: () => 0.5,
        runId,
        sessions: async () => [...this.extra, { session: this.worker, store }],
        reports,
        taskMessages,
        words: {
          listen: async (task, onWord) => {
            this.said = null
            this.say = (words) => {
              this.said = {
                session: task.session,
                task: task.task,
                epoch: task.epoch,
                count: 1,
                progress: null,
                end: null,
                ...words,
              }
              onWord(this.said)
            }
            return { said: () => this.said, [Symbol.asyncDispose]: async () => undefined }
          },
          left: async () => this.left,
          forget: async () => {
            this.left = []
          },
        },
        start: (task, onLine) => {
          const command = new FakeCommand(task.id, onLine)
          this.commands.push(command)
          return command
        },
        judge: (run) => this.judge(run),
        look: () => this.#fault(),
        say: (event) => this.events.push(event),
        draining: this.draining.signal,
        stopping: this.stopping.signal,
      },
    )
    return { done: agent.work(), loop: agent }
  }

  #fault(): PlaceFault | null {
    const why = this.seen
    return why === null ? null : { state: 'sick', why, until: null, look: () => this.seen }
  }

  /** What keepalive does. */
  async carry(): Promise<void> {
    for (const item of this.outbox) {
      if (!this.carries || item.outcome !== 'waiting') continue
      try {
        this.words.push(item.report.state)
        await this.store.report(item.holder, item.report)
        item.outcome = 'carried'
      } catch (error) {
        const { message, code } = error as S2Error
        item.outcome = { refused: message, code }
      }
    }
  }

  get command(): FakeCommand {
    const last = this.commands.at(-1)
    assert.ok(last !== undefined, 'no command was started')
    return last
  }

  told(event: WorkEvent['event']): WorkEvent[] {
    return this.events.filter((each) => each.event === event)
  }

  end(): void {
    this.stopping.abort()
    this.draining.abort()
  }
}

export class FakeCommand implements RunningCommand {
  readonly task: string
  readonly print: (line: string) => void
  readonly #ended = Promise.withResolvers<CommandEnd>()
  stoppedWithin: number | null = null
  /** Whether the next look sees a sign of work. */
  works = false
  /** What its client says that it used. */
  usage?: Usage
  /** What it answers to TERM. */
  onTerm: CommandEnd = { exitCode: null, signal: 'SIGTERM', tail: 'cut off' }

  constructor(task: string, print: (line: string) => void) {
    this.task = task
    this.print = print
  }

  get ended(): Promise<CommandEnd> {
    return this.#ended.promise
  }

  async hasWorked(): Promise<boolean> {
    return this.works
  }

  exit(exitCode: number, tail = 'all good'): void {
    this.#ended.resolve({ exitCode, signal: null, tail })
  }

  refuse(error: Error): void {
    this.#ended.reject(error)
  }

  stop(graceMs: number): void {
    this.stoppedWithin = graceMs
    this.#ended.resolve(this.onTerm)
  }
}

export async function bench(): Promise<Bench> {
  const made = new Bench()
  await made.open()
  return made
}

export const away = (): Promise<never> => Promise.reject(new S2Error('unavailable', 'the network is away'))
