/** A fleet in memory under a clock that a test moves: thirty minutes cost milliseconds. */
import assert from 'node:assert/strict'
import type { AgentProcess } from '#fleet/agent-processes.ts'
import type { Beat } from '#fleet/beat.ts'
import type { ClientActivity, ClientActivityState } from '#fleet/client-activity.ts'
import { INCIDENT_KINDS, type Incident } from '#fleet/incident.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import type { Clock } from '#runtime/clock.ts'
import { recordingLog, type Said } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import type { Look } from '../../services/watchdog/decide-and-act.ts'
import type { PassedVerdict } from '../../services/watchdog/fleet-observation.ts'
import type { ProcessSource } from '../../services/watchdog/process-sources/read-source.ts'
import { watch } from '../../services/watchdog/watchdog.ts'
import { Life, Machine, Timeline } from '../simulation/clock.ts'

export const BEAT = 5_000

export const CONFIG: WatchConfig = {
  lateAfterMs: 15_000,
  silentAfterMs: 60_000,
  roundMs: 60_000,
  watchMs: 250,
  leaseMs: 60_000,
  moveEveryMs: 10_000,
  // the tasks of most tests are never taken, and nobody works at them
  pendingAfterMs: 60_000,
  takeWithinMs: 86_400_000,
  stallAfterMs: 86_400_000,
  onStall: { otherwise: 'move', byName: new Map() },
  attemptsMax: 5,
  fallback: new Map(),
  restartAfterMs: 30_000,
  restartsMax: 3,
  alertOn: new Set(INCIDENT_KINDS),
  alertExec: null,
  alertWebhook: null,
}

export interface Actor {
  readonly name: string
  /** The worker's end; the orchestrator has the other ends of all. */
  session: SessionId
  host: string
  incarnation: string
  seq: number
  work: number
  beats: boolean
  lastBeatAt: number
  /** What its host says of its client; undefined for one that says nothing. */
  activity?: ClientActivity | undefined
  /** Where its host runs; undefined for one that does not say it. */
  place?: string
}

export class Stage implements AsyncDisposable {
  readonly machine: Machine
  readonly clock: Clock
  readonly store: Store
  readonly actors = new Map<string, Actor>()
  /** Whether the bridge collects beats. */
  collects = true
  readonly #ending = new AbortController()
  readonly #running: Promise<void>[] = []
  #boss = true

  /** Workers w1 … w<count> beside an orchestrator, all beating; in memory, unless `openStore` opens another store. */
  static async open(
    count: number,
    roles: Readonly<Record<string, string>> = {},
    openStore: (clock: Clock) => Store | Promise<Store> = (clock) => openMemoryStore({ clock }),
  ): Promise<Stage> {
    const machine = new Machine('stage', new Timeline())
    const { clock } = new Life('stage', machine)
    const stage = new Stage(machine, clock, await openStore(clock))
    for (let index = 1; index <= count; index += 1) await stage.join(`w${index}`, roles[`w${index}`] ?? 'any')
    stage.#running.push(stage.#collect())
    return stage
  }

  private constructor(machine: Machine, clock: Clock, store: Store) {
    this.machine = machine
    this.clock = clock
    this.store = store
  }

  /** A new agent that beats, by a conversation of its own, or by the one given. */
  async join(name: string, role = 'any', conversation?: string): Promise<Actor> {
    const session = sessionId(conversation ?? (await this.#converse(name, role)), 'b')
    const life = { incarnation: 'first', seq: 0, work: 0, beats: true, lastBeatAt: 0 }
    const actor: Actor = { name, session, host: `host-${name}`, ...life }
    this.actors.set(name, actor)
    this.#running.push(this.#beat(actor, this.actors.size * 100))
    return actor
  }

  /** The agent has a new conversation in place of the one that ended. */
  async rejoin(name: string): Promise<void> {
    this.actor(name).session = sessionId(await this.#converse(name, 'any'), 'b')
  }

  actor(name: string): Actor {
    const actor = this.actors.get(name)
    assert.ok(actor, name)
    return actor
  }

  /** These stop beating; the orchestrator is called boss. */
  silence(...names: readonly string[]): void {
    this.#set(names, false)
  }

  heal(...names: readonly string[]): void {
    this.#set(names, true)
  }

  #set(names: readonly string[], beats: boolean): void {
    for (const name of names) {
      if (name === 'boss') this.#boss = beats
      else this.actor(name).beats = beats
    }
  }

  /** The host of an agent says what its client does, and says so at once, as it does when that changes. */
  async show(name: string, state: ClientActivityState | null, what: string | null = null, until: number | null = null) {
    const actor = this.actor(name)
    actor.activity = state === null ? undefined : { state, what, until }
    if (!actor.beats) return
    actor.seq += 1
    const { session, host, incarnation, seq, work, place } = actor
    const where = { ...(place === undefined ? {} : { place }), ...(state === null ? {} : { activity: actor.activity }) }
    await this.store.beat([{ session, host, incarnation, seq, work, ...where } as Beat])
  }

  async addTask(id: string, holder: string | null, role: string | null = null): Promise<Task> {
    const session = holder === null ? null : this.actor(holder).session
    return this.store.addTask({
      id,
      description: `do ${id}`,
      priority: 'P2',
      role,
      holder: session,
      deadline: null,
      createdBy: session === null ? null : (session.replace(/b$/, 'a') as SessionId),
    })
  }

  /** Who holds each open task now, by name. */
  async holders(): Promise<Record<string, string | null>> {
    const names = new Map([...this.actors.values()].map(({ session, name }) => [session, name]))
    const tasks = await this.store.tasks({})
    return Object.fromEntries(tasks.map(({ id, holder }) => [id, holder === null ? null : (names.get(holder) ?? '?')]))
  }

  /** What S2 wrote to a session about tasks: `type task`. */
  async letters(session: SessionId): Promise<string[]> {
    const messages = await this.store.unacked(session, 0, 1_000)
    return messages.map(({ text }) => readTaskMessage(text)).map((letter) => `${letter?.type} ${letter?.task}`)
  }

  async open(): Promise<string[]> {
    return (await this.store.incidents({ open: true })).map(({ cause }) => cause).sort()
  }

  /** Every incident that there ever was, the closed ones with a dash. */
  async incidents(): Promise<string[]> {
    const all: Incident[] = await this.store.incidents({ open: false })
    return all.map(({ cause, closedAt }) => `${closedAt === null ? '' : '-'}${cause}`).sort()
  }

  async verdicts(): Promise<Record<string, string>> {
    const { verdicts } = await this.store.verdicts()
    return Object.fromEntries(verdicts.map(({ agent, verdict }) => [agent, verdict]))
  }

  watchdog(
    more: { store?: Store; config?: Partial<WatchConfig>; sources?: readonly ProcessSource[]; machine?: Machine } = {},
  ): Watchdog {
    const life = new Life('watchdog', more.machine ?? this.machine)
    const watchdog = new Watchdog({ ...CONFIG, ...more.config }, more.store ?? this.store, life, more.sources ?? [])
    this.#running.push(watchdog.done)
    this.#ending.signal.addEventListener('abort', () => watchdog.end())
    return watchdog
  }

  async run(ms: number): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)) // what was begun by now happens now
    const { timeline } = this.machine
    await timeline.runTo(timeline.now + ms)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    await Promise.all(this.#running)
  }

  async #converse(name: string, role: string): Promise<string> {
    const { id } = await this.store.openConversation({
      roles: { a: 'orchestrator', b: role },
      agents: { a: 'boss', b: name },
      lifetimeMs: 100 * 365 * 86_400_000,
    })
    return id
  }

  async #beat(actor: Actor, offsetMs: number): Promise<void> {
    const { signal } = this.#ending
    await this.clock.sleep(offsetMs, signal).catch(() => undefined)
    while (!signal.aborted) {
      actor.seq += 1
      const { session, host, incarnation, seq, work, place, activity } = actor
      const where = { ...(place === undefined ? {} : { place }), ...(activity === undefined ? {} : { activity }) }
      const partner = session.replace(/b$/, 'a') as SessionId
      if (this.#boss)
        await this.store.beat([{ session: partner, host: 'host-boss', incarnation: 'first', seq, work: 0 }])
      if (actor.beats) await this.store.beat([{ session, host, incarnation, seq, work, ...where }])
      if (actor.beats) actor.lastBeatAt = this.clock.now()
      await this.clock.sleep(BEAT, signal).catch(() => undefined)
    }
  }

  async #collect(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      if (this.collects) await this.store.tend()
      await this.clock.sleep(1_000, signal).catch(() => undefined)
    }
  }
}

export class Watchdog {
  readonly log = recordingLog()
  readonly looks: Look[] = []
  readonly changes: PassedVerdict[] = []
  readonly errors: unknown[] = []
  /** Why alerts do not get through, as health has it. */
  alertTrouble: string | null = null
  readonly done: Promise<void>
  /** Stops and goes on, as a process does that gets SIGSTOP and SIGCONT. */
  readonly life: Life
  readonly #stop = new AbortController()

  constructor(config: WatchConfig, store: Store, life: Life, sources: readonly ProcessSource[]) {
    const { clock } = life
    this.life = life
    this.done = watch(config, {
      store,
      clock,
      log: this.log,
      chance: () => 0.5,
      signal: this.#stop.signal,
      sources,
      onLook: (look) => {
        this.looks.push(look)
        this.changes.push(...look.changes)
      },
      onError: (error) => this.errors.push(error),
      onAlertTrouble: (why) => {
        this.alertTrouble = why
      },
    })
  }

  get moved(): number {
    return this.looks.reduce((sum, { moved }) => sum + moved, 0)
  }

  /** Who was convicted, in order. */
  get convicted(): string[] {
    return this.changes.filter(({ to }) => to === 'silent').map(({ agent }) => agent)
  }

  said(event: string): Said[] {
    return this.log.records.filter((record) => record.event === event)
  }

  end(): void {
    this.#stop.abort()
  }

  async stop(): Promise<void> {
    this.end()
    await this.done
  }
}

/** A supervisor that a test speaks for: it hints at what changes, unless it is away. */
export class Supervisor implements ProcessSource {
  readonly name = 'fake'
  readonly everyMs: number = 5_000
  readonly started: string[] = []
  isAway = false
  /** Told when it is asked to start something. */
  onStart: (id: string) => void = () => undefined
  readonly #bodies = new Map<string, AgentProcess>()
  readonly #heard: (() => void)[] = []

  async read(): Promise<readonly AgentProcess[]> {
    if (this.isAway) throw new Error('no answer')
    return [...this.#bodies.values()]
  }

  onHint(heard: () => void): void {
    this.#heard.push(heard)
  }

  async start(id: string): Promise<void> {
    this.started.push(id)
    this.onStart(id)
  }

  set(id: string, state: AgentProcess['state'], more: Partial<AgentProcess> = {}): void {
    this.#bodies.set(id, { id, agent: id, name: `body ${id}`, state, why: '', mayStart: false, ...more })
    this.hint()
  }

  remove(id: string): void {
    this.#bodies.delete(id)
    this.hint()
  }

  hint(): void {
    for (const heard of this.#heard) heard()
  }
}

/** A store of which some verbs are preceded by something: a delay, or an error. */
export function through(store: Store, before: Partial<Record<keyof Store, () => Promise<void>>>): Store {
  return new Proxy(store, {
    get(target, name) {
      const verb: unknown = Reflect.get(target, name)
      if (typeof verb !== 'function') return verb
      const first = before[name as keyof Store]
      return async (...args: unknown[]) => {
        await first?.()
        return Reflect.apply(verb, target, args) as unknown
      }
    },
  })
}

/** A store of which some verbs are others. */
export function instead(store: Store, verbs: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name) {
      const verb: unknown = Reflect.get(verbs, name) ?? Reflect.get(target, name)
      return typeof verb === 'function' ? verb.bind(target) : verb
    },
  })
}
