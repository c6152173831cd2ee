import { isPassing } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { PROGRAM_RUN, type Task } from '#fleet/task.ts'
import { recordingLog } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { Metrics } from '#runtime/metrics.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { HintLimiter } from '../../services/cred-sync/hint-limiter.ts'
import { LookPace } from '../../services/cred-sync/look-pace.ts'
import { CredentialSync } from '../../services/cred-sync/sync-credential.ts'
import { SessionManager, type SessionManagerConfig } from '../../services/keepalive/session-manager.ts'
import { placeJudge } from '../../services/worker/place-fault.ts'
import { inboxTaskMailbox, outboxReports } from '../../services/worker/reports-and-task-mail.ts'
import type { RunningCommand } from '../../services/worker/running-command.ts'
import { TaskLoop, type TaskLoopConfig } from '../../services/worker/task-loop.ts'
import { SILENT } from '../worker/silent-agent.ts'
import { type Bug, byTheWallClock } from './bugs.ts'
import { Life, type Machine } from './clock.ts'
import { type SickPlace, startCommand } from './command.ts'
import type { Fault } from './faults.ts'
import type { History } from './history.ts'
import { keysOf, sourceAtBridge } from './issuing.ts'
import { type Bridge, Link, openWire, type Surroundings } from './network.ts'
import type { Start } from './rule.ts'
import type { HostConfig } from './settings.ts'
import { Spool } from './spool.ts'
import { troubleOf } from './work.ts'

export interface HostParts {
  readonly around: Surroundings
  readonly history: History
  readonly bridge: Bridge
  readonly bug: Bug | null
  /** Told what was promised to be carried. */
  onPromised(text: string): void
  /** Told of every start of a task's command. */
  onStarted(start: Start): void
  /** Told of every command that did its work. */
  onDone(task: Task): void
  /** Told of a fault of a task that an agent meets; calls what it answers when that is over. */
  onTrouble(fault: Fault, agent: string): () => void
}

const RETRY_MS = 1_000
/** How soon what watches over the programs of a host starts one again that died, on average. */
const RESTART_MS = 5_000
/** Longer than any world lasts. */
const NEVER_MS = 1_000 * 86_400_000

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
  #credSync: Life | null = null
  #hintCredSync: () => void = () => undefined
  #lives = 0
  #said = 0
  #speaks = true
  /** Its programs are meant to run. */
  #isUp = false
  /** The agent is all in its command, and quiet as that is: it reads nothing and says nothing. */
  #isQuiet = false
  /** Whatever hangs here does so no longer. */
  #hangEnded: () => void = () => undefined
  /** What keeps every command from working here; null: nothing does. */
  fault: SickPlace | null = null
  /** It never comes back. */
  isGone = false
  /** The machine is switched off: nobody starts anything there. */
  isOff = false
  /** Told whenever the agent's program begins or ends. */
  onWorker: () => void = () => undefined

  constructor(
    agent: string,
    machine: Machine,
    sessions: readonly SessionId[],
    takesWork: boolean,
    config: HostConfig,
    parts: HostParts,
  ) {
    const { around } = parts
    this.agent = agent
    this.sessions = sessions
    this.machine = machine
    this.link = new Link(around, machine)
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

  startKeepalive(): void {
    if (this.#keepalive !== null) return
    const life = this.#begin('keepalive')
    this.#keepalive = life
    const { bridge, around, bug } = this.#parts
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
      clock: bug === 'timers by the wall clock' ? byTheWallClock(life.clock) : life.clock,
      chance: around.dice.next,
      log: recordingLog(),
      health: { trouble: () => undefined, metrics: new Metrics() },
      hintCredentials: async () => this.#hintCredSync(),
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

  /** Fetches the credential of its host; the orchestrator's host has its own ends from the issuer. */
  startCredSync(): void {
    if (this.#credSync !== null || !this.#takesWork) return
    const life = this.#begin('cred-sync')
    this.#credSync = life
    const { bridge, around } = this.#parts
    const { clock, unending: signal } = life
    const pollMs = this.#config.credentialPollMs
    const store = openWire({
      life,
      link: this.link,
      bridge,
      keyring: { token: () => undefined, sessions: () => [] },
      around,
    })
    const identity = keysOf(this.agent, 'orchestrator')
    const credentials = this.spool.credentialFolder(life)
    const sync = new CredentialSync({
      keysFile: 'keys',
      identity: async () => identity,
      sources: () => ({ git: null, bridge: sourceAtBridge(store, life) }),
      credentials,
      clock,
    })
    const pace = new LookPace({
      pollMs,
      chance: around.dice.next,
      hasCredential: async () => (await credentials.read()).some(({ expiresAt }) => expiresAt > clock.wall()),
    })
    const loop = new RetryLoop({
      clock,
      chance: around.dice.next,
      signal,
      limits: { firstMs: RETRY_MS, mostMs: pollMs, leastMs: RETRY_MS },
      step: async () => {
        const outcome = await sync.look().catch((error: unknown) => {
          if (isPassing(error)) throw error
          this.#parts.history.note(`${life.name} found nothing: ${(error as Error).message}`)
          return { kind: 'refused' } as const
        })
        if (outcome.kind === 'published') this.#parts.history.note(`${life.name} has a new credential`)
        return await pace.after(outcome.kind)
      },
      onTrouble: () => undefined,
      onWell: () => undefined,
    })
    const hurry = (): void => {
      pace.noteHint()
      loop.retry()
    }
    const limiter = new HintLimiter({ clock, signal, hurry })
    this.#hintCredSync = () => around.timeline.after(1, () => life.deliver(() => limiter.hint()))
  }

  killCredSync(): void {
    this.#credSync?.kill()
    this.#credSync = null
  }

  killKeepalive(): void {
    this.#keepalive?.kill()
    this.#keepalive = null
  }

  killWorker(): void {
    this.#isQuiet = false
    this.#hangEnded()
    this.#worker?.kill()
    this.#worker = null
    this.onWorker()
  }

  kill(): void {
    this.#isUp = false
    this.killKeepalive()
    this.killWorker()
    this.killCredSync()
  }

  start(): void {
    this.#isUp = true
    this.startCredSync()
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
        if (this.#isQuiet) return 5 * this.#config.pollMs
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
        if (!this.#speaks) return NEVER_MS
        if (this.#isQuiet) return 1
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
      progressMs: this.#config.lineMs,
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
      runId: `${PROGRAM_RUN}${life.name}`,
      sessions: async () => this.sessions.map((session) => ({ session, store })),
      reports: outboxReports(this.spool.writing(life)),
      words: SILENT,
      taskMessages: inboxTaskMailbox(this.spool.reading(life), (heard) => this.spool.hear('inbox', life, heard)),
      start: (task, onLine) => this.#command(task, life, onLine),
      judge: placeJudge({ argv: ['agent'], env: {}, cwd: '/' }, life.clock, 'UTC'),
      say: ({ event, ...rest }) => {
        if (event !== 'output') this.#parts.history.note(`${life.name} ${event} ${'task' in rest ? rest.task : ''}`)
      },
      draining: life.unending,
      stopping: life.unending,
    })
    await agent.work()
  }

  /** A task takes the agent's program along, which is started again soon. */
  #crash(life: Life): void {
    if (this.#worker !== life || life.isDead) return
    const { around, onTrouble } = this.#parts
    const restarted = onTrouble('agent killed by its task', this.agent)
    this.killWorker()
    around.timeline.after(1_000 + around.dice.wait(RESTART_MS), () =>
      this.machine.whenAwake(() => {
        restarted()
        if (this.#isUp && !this.isGone) this.startWorker()
      }),
    )
  }

  #command(task: Task, life: Life, onLine: (line: string) => void): RunningCommand {
    const { around, history, onStarted, onDone, onTrouble } = this.#parts
    const { lineMs } = this.#config
    const name = `${task.id}@${task.epoch} on ${this.agent}`
    history.note(`run begins: ${name}`)
    onStarted({ task, agent: this.agent, life: life.name, isPlaceWell: this.fault === null })
    const trouble = troubleOf(task)
    this.#isQuiet = trouble === 'hangs' || trouble === 'is quiet'
    if (trouble === 'fails at once') onTrouble('command fails at once', this.agent)()
    if (trouble === 'garbles its report') around.tally.fired('report garbled')
    const command = startCommand(task, {
      life,
      lineMs,
      where: this.agent,
      fault: this.fault,
      onLine,
      crash: () => this.#crash(life),
      onHang: () => {
        this.#hangEnded = onTrouble('command hangs', this.agent)
        return this.#hangEnded
      },
    })
    void command.ended.then(({ exitCode }) => {
      history.note(`run ends: ${name}`)
      this.#isQuiet = false
      if (exitCode === 0) onDone(task)
    })
    return command
  }
}
