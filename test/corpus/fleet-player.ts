import { type Code, S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type NewTask, PROGRAM_RUN, type Report, type Task } from '#fleet/task.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import type { Clock } from '#runtime/clock.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import type { ProcessSource } from '../../services/watchdog/process-sources/read-source.ts'
import type { ReportOutcome } from '../../services/worker/end-report.ts'
import type { CommandEnd, RunningCommand } from '../../services/worker/running-command.ts'
import { type Reports, TaskLoop, type TaskMailbox } from '../../services/worker/task-loop.ts'
import { Life, Machine } from '../simulation/clock.ts'
import { Stage, type Watchdog } from '../watchdog/stage.ts'
import { SILENT } from '../worker/silent-agent.ts'
import type { Demand, Label, Situation } from './situation.ts'
import { Witness } from './witness.ts'

/** A fleet under a clock that the play moves, with the default clocks: hosts that beat, real workers with made-up commands, a real watchdog. */
export interface FleetPlay {
  /** The workers, by name, and their roles. */
  readonly workers: Readonly<Record<string, string>>
  /** Agents that people sit at, by name, and their roles: a client beside a daemon, and no worker. */
  readonly clients?: Readonly<Record<string, string>>
  readonly config?: Partial<WatchConfig>
  readonly sources?: readonly ProcessSource[]
  openStore?(clock: Clock): Promise<Store>
  /** What happens. */
  tell(fleet: Fleet): Promise<void>
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
/** The defaults of the settings. */
const CLOCKS: Partial<WatchConfig> = { takeWithinMs: 2 * MINUTE, stallAfterMs: 15 * MINUTE }
const WORK = { leaseMs: MINUTE, pollMs: 30 * SECOND, progressMs: 2 * SECOND, quickFailureMs: 5 * SECOND, once: false }
/** Until all agents were heard, and found out whether they are. */
const WARM_UP_MS = 20 * SECOND
/** What a store that answers by the events of this process is given to answer, milliseconds of the fleet. */
const STEP_MS = 250

export function fleet(
  title: string,
  label: Label,
  play: FleetPlay,
  follows: readonly Demand[],
  known?: string,
): Situation {
  return {
    title,
    label,
    follows,
    ...(known === undefined ? {} : { known }),
    play: async () => {
      await using stage = await Fleet.open(play)
      await play.tell(stage)
      return [...stage.witness.happenings]
    },
  }
}

/** How a task goes at whoever does it. */
export interface Job {
  /** Infinity: it hangs. */
  readonly lastsMs: number
  /** Whether its processes show that they work. */
  readonly isWorking?: () => boolean
  readonly exitCode?: () => number
  readonly line?: string
}

const SHORT: Job = { lastsMs: 30 * SECOND }

export class Fleet implements AsyncDisposable {
  readonly stage: Stage
  readonly witness: Witness
  watchdog: Watchdog
  readonly #startWatchdog: () => Watchdog
  /** By task; those that are not named are short and go well. */
  readonly jobs = new Map<string, Job>()
  readonly #workers = new Map<string, FleetWorker>()
  readonly #ends: (() => void)[] = []
  readonly #isInMemory: boolean

  static async open({ workers, clients = {}, config, sources, openStore }: FleetPlay): Promise<Fleet> {
    const witnesses: Witness[] = []
    const stage = await Stage.open(0, {}, async (clock) => {
      const witness = new Witness((await openStore?.(clock)) ?? openMemoryStore({ clock }), clock)
      witnesses.push(witness)
      return witness.store
    })
    const [witness] = witnesses
    if (witness === undefined) throw new Error('the stage opened no store')
    const more = { config: { ...CLOCKS, ...config }, ...(sources === undefined ? {} : { sources }) }
    const made = new Fleet(stage, witness, () => stage.watchdog(more), openStore === undefined)
    for (const [name, role] of Object.entries(workers)) {
      const actor = await stage.join(name, role)
      actor.place = actor.host
      made.start(name, actor.host)
    }
    for (const [name, role] of Object.entries(clients)) {
      const actor = await stage.join(name, role)
      actor.place = actor.host
    }
    await made.run(WARM_UP_MS)
    witness.begin()
    return made
  }

  private constructor(stage: Stage, witness: Witness, startWatchdog: () => Watchdog, isInMemory: boolean) {
    this.stage = stage
    this.witness = witness
    this.#startWatchdog = startWatchdog
    this.watchdog = startWatchdog()
    this.#isInMemory = isInMemory
  }

  /** The trouble begins now: what happened before counts no more. */
  begin(): void {
    this.witness.begin()
  }

  async run(ms: number): Promise<void> {
    if (this.#isInMemory) return await this.stage.run(ms)
    for (let left = ms; left > 0; left -= STEP_MS) {
      await this.stage.run(Math.min(left, STEP_MS))
      while (this.witness.isBusy) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  async give(id: string, worker: string | null, job: Job = SHORT, more: Partial<NewTask> = {}): Promise<void> {
    this.jobs.set(id, job)
    await this.stage.store.addTask({
      id,
      description: `do ${id}`,
      priority: 'P2',
      role: null,
      holder: worker === null ? null : this.stage.actor(worker).session,
      deadline: null,
      createdBy: null,
      ...more,
    })
  }

  /** The moment that is so far ahead, by the clock on the wall. */
  at(ms: number): number {
    return this.stage.clock.wall() + ms
  }

  worker(name: string): FleetWorker {
    const worker = this.#workers.get(name)
    if (worker === undefined) throw new Error(`no worker is called ${name}`)
    return worker
  }

  /** Starts a worker program of this agent, on its own host or on another one, beside any that runs there. */
  start(name: string, place = this.stage.actor(name).host): FleetWorker {
    const session = (): SessionId => this.stage.actor(name).session
    const known = this.#workers.get(name)
    const machine = known?.place === place ? known.machine : new Machine(place, this.stage.machine.timeline)
    const worker = new FleetWorker(name, place, machine, session, this)
    this.#workers.set(name, worker)
    return worker
  }

  /** The watchdog ends, and another one begins after so long. */
  async restartWatchdog(gapMs: number): Promise<void> {
    await this.watchdog.stop()
    await this.run(gapMs)
    this.watchdog = this.#startWatchdog()
  }

  /** The program of the agent dies, and its daemon beats on. */
  kill(name: string): void {
    this.worker(name).life.kill()
  }

  /** The daemon of the host dies: no beats, no mail, no outbox. */
  killDaemon(name: string): void {
    this.stage.silence(name)
    this.worker(name).hasDaemon = false
  }

  startDaemon(name: string): void {
    this.stage.actor(name).incarnation += '+'
    this.stage.heal(name)
    this.worker(name).hasDaemon = true
  }

  /** The outbox of the host is kept from the bridge, and all else goes its way. */
  blockOutbox(name: string): void {
    this.worker(name).isOutboxBlocked = true
  }

  /** Nothing gets from these hosts to the bridge, or back. */
  cut(...names: readonly string[]): void {
    this.stage.silence(...names)
    for (const name of names) if (name !== 'boss') this.worker(name).isCut = true
  }

  mend(...names: readonly string[]): void {
    this.stage.heal(...names)
    for (const name of names) if (name !== 'boss') this.worker(name).isCut = false
  }

  suspend(name: string): void {
    this.stage.silence(name)
    this.worker(name).machine.suspend()
  }

  resume(name: string): void {
    this.worker(name).machine.resume()
    this.stage.heal(name)
  }

  /** What is to end with the play. */
  onEnd(end: () => void): void {
    this.#ends.push(end)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends) end()
    for (const { life } of this.#workers.values()) life.kill()
    await this.stage[Symbol.asyncDispose]()
    await this.stage.store[Symbol.asyncDispose]()
  }
}

/** One life of `s2 work` on a host. */
export class FleetWorker {
  readonly place: string
  readonly machine: Machine
  readonly life: Life
  isCut = false
  hasDaemon = true
  isOutboxBlocked = false
  readonly #fleet: Fleet
  readonly #outbox: { readonly report: Report; outcome: ReportOutcome }[] = []

  constructor(name: string, place: string, machine: Machine, session: () => SessionId, fleet: Fleet) {
    this.place = place
    this.machine = machine
    this.#fleet = fleet
    const { timeline } = machine
    this.life = new Life(`${name} on ${place} at ${timeline.now}`, machine)
    const { store } = fleet.witness
    const ask = async <T>(verb: () => Promise<T>): Promise<T> => {
      if (this.isCut) throw new S2Error('unavailable', 'the bridge does not answer')
      return await verb()
    }
    const { unending: never } = this.life
    void new TaskLoop(WORK, {
      clock: this.life.clock,
      chance: () => 0.5,
      runId: `${PROGRAM_RUN}${this.life.name}`,
      sessions: async () => [
        {
          session: session(),
          store: {
            leaseTask: (...args) => ask(() => store.leaseTask(...args)),
            report: (...args) => ask(() => store.report(...args)),
            noteCondition: (...args) => ask(() => store.noteCondition(...args)),
          },
          ...{ place },
        },
      ],
      reports: this.#reports(session),
      words: SILENT,
      taskMessages: this.#mailbox(session, store),
      start: (task) => new MadeUpCommand(task, fleet.jobs.get(task.id) ?? SHORT, this.life),
      judge: ({ end }) => (end.exitCode === 75 ? { state: 'sick', why: end.tail, until: null, isSaid: true } : null),
      say: (event) => {
        if (event.event === 'stopping') fleet.witness.note(`stopping ${event.task} ${event.why}`, event.reason)
      },
      draining: never,
      stopping: never,
    }).work()
  }

  get #isCarried(): boolean {
    return this.hasDaemon && !this.isCut
  }

  /** Ends wait in the outbox until the daemon carries them. */
  #reports(session: () => SessionId): Reports {
    const carry = async (): Promise<void> => {
      for (const item of this.#outbox.filter(({ outcome }) => outcome === 'waiting')) {
        if (!this.#isCarried || this.isOutboxBlocked) return
        item.outcome = await this.#fleet.witness.store.report(session(), item.report).then(
          () => 'carried' as const,
          (error: { readonly code: Code; readonly message: string }) => ({ refused: error.message, code: error.code }),
        )
      }
    }
    return {
      put: async (_, report) => {
        this.#outbox.push({ report, outcome: 'waiting' })
        await carry()
        return String(this.#outbox.length - 1)
      },
      carried: async (name) => {
        await carry()
        return this.#outbox[Number(name)]?.outcome ?? 'unknown'
      },
      waiting: async () => this.#outbox.filter(({ outcome }) => outcome === 'waiting').length,
    }
  }

  #mailbox(session: () => SessionId, store: Store): TaskMailbox {
    const over = new AbortController()
    return {
      take: async () => {
        const messages = this.#isCarried ? await store.unacked(session(), 0, 1_000) : []
        const ids = messages.map(({ id }) => id)
        await store.mark(session(), ids, 'acked')
        const said = messages.flatMap(({ text }) => readTaskMessage(text) ?? [])
        return {
          assigned: said.flatMap((each) => (each.type === 'task_assignment' ? [each.task] : [])),
          revoked: said.flatMap((each) => (each.type === 'task_revoked' ? [each] : [])),
        }
      },
      onNews: (heard) => {
        void this.#hear(session, store, heard, over.signal)
        return { [Symbol.dispose]: () => over.abort() }
      },
    }
  }

  async #hear(session: () => SessionId, store: Store, heard: () => void, signal: AbortSignal): Promise<void> {
    for await (const _ of store.mail(session(), 0, signal)) this.life.deliver(heard)
  }
}

class MadeUpCommand implements RunningCommand {
  readonly ended: Promise<CommandEnd>
  readonly #job: Job
  readonly #stopped = new AbortController()
  #hasEnded = false

  constructor(_task: Task, job: Job, life: Life) {
    this.#job = job
    this.ended = this.#run(life)
  }

  async hasWorked(): Promise<boolean> {
    if (this.#hasEnded) return false
    return this.#job.isWorking?.() ?? Number.isFinite(this.#job.lastsMs)
  }

  openLine(): string {
    return this.#job.line ?? ''
  }

  stop(): void {
    this.#stopped.abort()
  }

  async #run({ clock }: Life): Promise<CommandEnd> {
    const { lastsMs, exitCode, line = '' } = this.#job
    const isOver = await clock.sleep(lastsMs, this.#stopped.signal).then(
      () => true,
      () => false,
    )
    this.#hasEnded = true
    return isOver
      ? { exitCode: exitCode?.() ?? 0, signal: null, tail: line }
      : { exitCode: null, signal: 'SIGTERM', tail: line }
  }
}
