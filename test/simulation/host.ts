import type { Credential } from '#fleet/credential.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { recordingLog } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { Metrics } from '#runtime/metrics.ts'
import { SessionManager, type SessionManagerConfig } from '../../services/keepalive/session-manager.ts'
import { inboxTaskMailbox, outboxReports } from '../../services/worker/reports-and-task-mail.ts'
import type { CommandEnd, RunningCommand } from '../../services/worker/running-command.ts'
import { TaskLoop, type TaskLoopConfig } from '../../services/worker/task-loop.ts'
import { Life, Machine } from './clock.ts'
import type { History } from './history.ts'
import { type Bridge, Link, openWire, type Surroundings } from './network.ts'
import { Spool } from './spool.ts'

/** How the programs of a host are set; times in milliseconds. */
export interface HostConfig {
  readonly beatMs: number
  readonly leaseMs: number
  readonly pollMs: number
  readonly sayEveryMs: number
}

export interface HostParts {
  readonly around: Surroundings
  readonly history: History
  readonly bridge: Bridge
  /** Told what was promised to be carried. */
  onPromised(text: string): void
}

const RETRY_MS = 1_000

/** One machine of the fleet: its folders outlive its programs, which are the real ones. */
export class SimulatedHost {
  readonly agent: string
  readonly machine: Machine
  readonly link: Link
  readonly spool: Spool
  readonly sessions: readonly SessionId[]
  /** Ends `a` give work and take none. */
  readonly #takesWork: boolean
  readonly #config: HostConfig
  readonly #parts: HostParts
  #keepalive: Life | null = null
  #worker: Life | null = null
  #lives = 0
  #said = 0
  #speaks = true
  /** It never comes back. */
  isGone = false
  /** Told whenever the agent's program begins or ends. */
  onWorker: () => void = () => undefined

  constructor(agent: string, sessions: readonly SessionId[], takesWork: boolean, config: HostConfig, parts: HostParts) {
    const { around } = parts
    this.agent = agent
    this.sessions = sessions
    this.machine = new Machine(agent, around.timeline, around.dice.between(-5_000, 5_000))
    this.link = new Link(around)
    this.spool = new Spool(around)
    this.#takesWork = takesWork
    this.#config = config
    this.#parts = parts
  }

  get keepalive(): Life | null {
    return this.#keepalive
  }

  get worker(): Life | null {
    return this.#worker
  }

  get isRunning(): boolean {
    return this.#keepalive !== null && this.#worker !== null
  }

  /** It says nothing more by itself, so that the world can come to rest. */
  hush(): void {
    this.#speaks = false
  }

  publish(credential: Credential): void {
    this.spool.publish(credential)
  }

  startKeepalive(): void {
    if (this.#keepalive !== null) return
    const life = this.#begin('keepalive')
    this.#keepalive = life
    const { bridge, around } = this.#parts
    const { beatMs, pollMs } = this.#config
    const config: SessionManagerConfig = {
      host: this.agent,
      beatMs,
      beatPollingMs: beatMs,
      pollMs,
      drainMs: 10_000,
    }
    new SessionManager(config, {
      open: (_url, keyring) => openWire({ life, link: this.link, bridge, keyring, around }),
      inbox: this.spool.inboxPort(life),
      outbox: this.spool.outboxPort(life),
      credentials: this.spool.credentialsPort(life),
      incarnation: life.name,
      clock: life.clock,
      chance: around.dice.next,
      log: recordingLog(),
      health: { trouble: () => undefined, metrics: new Metrics() },
      hintCredentials: async () => undefined,
      round: () => undefined,
      hear: (folder, heard) => this.spool.hear(folder, life, heard),
    })
  }

  startWorker(): void {
    if (this.#worker !== null) return
    const life = this.#begin('agent')
    this.#worker = life
    this.onWorker()
    this.#read(life)
    this.#talk(life)
    if (this.#takesWork) void this.#work(life)
  }

  killKeepalive(): void {
    this.#keepalive?.kill()
    this.#keepalive = null
  }

  killWorker(): void {
    this.#worker?.kill()
    this.#worker = null
    this.onWorker()
  }

  kill(): void {
    this.killKeepalive()
    this.killWorker()
  }

  start(): void {
    this.startKeepalive()
    this.startWorker()
  }

  #begin(program: string): Life {
    this.#lives += 1
    const life = new Life(`${this.agent}/${program}.${this.#lives}`, this.machine)
    this.#parts.history.note(`${life.name} begins`)
    return life
  }

  /** Reads what comes, thinks about it, and acks: what it had in hand when it died it reads again. */
  #read(life: Life): void {
    const inbox = this.spool.reading(life)
    const { dice } = this.#parts.around
    let isFirst = true
    const loop = new Loop({
      clock: life.clock,
      signal: life.unending,
      step: async () => {
        const ids = [...(isFirst ? await inbox.list('cur') : []), ...(await inbox.list('new'))]
        isFirst = false
        for (const id of ids) {
          const message = await inbox.take(id)
          if (message === null) continue
          await life.clock.sleep(dice.wait(150))
          await inbox.ack([id])
        }
        return 5 * this.#config.pollMs
      },
      onError: () => {
        isFirst = true
        return RETRY_MS
      },
    })
    this.spool.hear('inbox', life, () => loop.nudge())
  }

  /** Says something now and then, to its partner or to one of them. */
  #talk(life: Life): void {
    const { around, onPromised } = this.#parts
    const { dice } = around
    const outbox = this.spool.writing(life)
    new Loop({
      clock: life.clock,
      signal: life.unending,
      step: async () => {
        await life.clock.sleep(dice.wait(this.#config.sayEveryMs))
        if (!this.#speaks) return LIFETIME_MS
        this.#said += 1
        const from = dice.pick(this.sessions)
        const text = `word ${this.#said} of ${from}`
        await outbox.put({ kind: 'send', from, draft: { text } })
        onPromised(text)
        return 1
      },
      onError: () => RETRY_MS,
    })
  }

  async #work(life: Life): Promise<void> {
    const { bridge, around } = this.#parts
    const config: TaskLoopConfig = {
      leaseMs: this.#config.leaseMs,
      pollMs: 5 * this.#config.pollMs,
      progressMs: 10_000,
      quickFailureMs: 5_000,
      once: false,
    }
    const keyring = {
      token: (session: SessionId) => this.spool.credentials().find((each) => each.session === session)?.token,
      sessions: () => this.sessions,
    }
    const store = openWire({ life, link: this.link, bridge, keyring, around })
    const agent = new TaskLoop(config, {
      clock: life.clock,
      chance: around.dice.next,
      runId: life.name,
      sessions: async () => this.sessions.map((session) => ({ session, store })),
      reports: outboxReports(this.spool.writing(life)),
      taskMessages: inboxTaskMailbox(this.spool.reading(life), (heard) => this.spool.hear('inbox', life, heard)),
      start: (task, onLine) => this.#command(task, life, onLine),
      judge: () => null,
      say: ({ event, ...rest }) => {
        if (event !== 'output') this.#parts.history.note(`${life.name} ${event} ${'task' in rest ? rest.task : ''}`)
      },
      draining: life.unending,
      stopping: life.unending,
    })
    await agent.work()
  }

  /** A command that takes as long as its task says, prints a line now and then, and ends soon after it is told to. */
  #command(task: Task, life: Life, onLine: (line: string) => void): RunningCommand {
    const { history } = this.#parts
    const stopped = new AbortController()
    const name = `${task.id}@${task.epoch} on ${this.agent}`
    const run = async (): Promise<CommandEnd> => {
      const tookMs = Number(task.description.split(' ').at(-2))
      history.note(`run begins: ${name}`)
      for (let leftMs = tookMs; leftMs > 0 && !stopped.signal.aborted; leftMs -= LINE_MS) {
        await life.clock.sleep(Math.min(LINE_MS, leftMs), stopped.signal).catch(() => undefined)
        onLine(`${leftMs} ms left`)
      }
      if (stopped.signal.aborted) await life.clock.sleep(50)
      history.note(`run ends: ${name}`)
      return stopped.signal.aborted
        ? { exitCode: null, signal: 'SIGTERM', tail: '' }
        : { exitCode: 0, signal: null, tail: `done on ${this.agent}` }
    }
    return { ended: run(), stop: () => stopped.abort() }
  }
}

const LINE_MS = 10_000
/** Longer than any world lasts, clock steps and all: how conversations end is another story. */
export const LIFETIME_MS = 30 * 86_400_000
