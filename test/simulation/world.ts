import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import { isOpen, type NewTask, PRIORITIES, type Priority } from '#fleet/task.ts'
import { Loop } from '#runtime/loop.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import { type Bug, plant, spoil } from './bugs.ts'
import { Dice } from './chance.ts'
import { Life, Machine, Timeline } from './clock.ts'
import { Engine } from './engine.ts'
import { begin, type Episode, type Mend, planEpisodes } from './episodes.ts'
import { type Fault, Tally } from './faults.ts'
import { History, type Operation } from './history.ts'
import { type HostConfig, LIFETIME_MS, SimulatedHost } from './host.ts'
import { useLightAborts } from './light-abort.ts'
import { Bridge, CALM, openNear, type Surroundings, type Weather } from './network.ts'
import { Watchman } from './watchman.ts'
import { Witness } from './witness.ts'

export interface WorldOptions {
  /** A mistake to make on purpose. */
  readonly bug?: Bug | null
  /** Keeps every line of the history, for people to read. */
  readonly verbose?: boolean
}

/** What came of one world. */
export interface Outcome {
  readonly seed: number
  readonly violations: readonly string[]
  /** Two runs of one seed that differ in anything differ in this. */
  readonly digest: string
  readonly simulatedMs: number
  readonly operations: Readonly<Partial<Record<Operation, number>>>
  readonly faults: Readonly<Partial<Record<Fault, number>>>
  readonly lines: readonly string[]
}

const ROLES = ['backend', 'frontend', 'tests', 'docs', 'deploy', 'review', 'wsl-cli', 'cloud-codex']

/** The least that must have happened for a world to prove anything. */
const LEAST: Readonly<Partial<Record<Operation, number>>> = {
  'message sent': 10,
  'message received': 10,
  'task added': 8,
  'task leased': 8,
  'task completed': 8,
  'beat heard': 100,
}

/** After everything is mended, so long may it take until all is done. */
const REST_WITHIN_MS = 900_000
/** And then it must stay so. */
const STAYS_MS = 30_000
const LOOK_MS = 5_000

useLightAborts()

/** Runs the world of a seed: broken for a while, then mended, then at rest. */
export async function runWorld(seed: number, options: WorldOptions = {}): Promise<Outcome> {
  using _bug = plant(options.bug ?? null)
  const world = new World(seed, options)
  return await world.run()
}

/** A whole fleet of real programs on machines that are not. */
class World {
  readonly around: Surroundings
  readonly server: Machine
  readonly hosts: SimulatedHost[] = []
  readonly watchmen: Watchman[] = []
  readonly history: History
  readonly engine: Engine
  readonly #seed: number
  readonly #options: WorldOptions
  readonly #timeline = new Timeline()
  readonly #dice: Dice
  readonly #store: Store
  readonly #agents = new Map<SessionId, string>()
  readonly #witness: Witness
  readonly #busy = new Map<SimulatedHost, number>()
  readonly #mends = new Set<Mend>()
  readonly #broken = new Set<Fault>()
  readonly #promised: string[] = []
  readonly #arrived = new Map<string, { last: number; readonly seen: Set<number> }>()
  readonly #lastWord = new Map<SessionId, number>()
  readonly #acked = new Set<number>()
  readonly #alerts = new Set<string>()
  /** Agents that were cut off together with most others: nothing of theirs may be moved meanwhile. */
  #cutOff: ReadonlySet<string> = new Set()
  #bridge: Bridge | null = null
  #beatMs = 0
  #firstSerial = 0
  #serverStepped = false
  #tasks = 0
  #lives = 0
  #givesWork = true

  constructor(seed: number, options: WorldOptions) {
    this.#seed = seed
    this.#options = options
    this.#dice = new Dice(`world ${seed}`)
    const dice = new Dice(`programs ${seed}`)
    this.around = { timeline: this.#timeline, dice, tally: new Tally(), weather: CALM }
    this.server = new Machine('server', this.#timeline)
    this.history = new History(this.#timeline, options.verbose ?? false)
    this.engine = new Engine(this.around, this.history)
    const bytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, () => dice.whole(0, 255))
    const clock = new Life('store', this.server).clock
    this.#store = openMemoryStore({ clock }, bytes)
    this.#witness = new Witness(
      spoil(this.#store, options.bug ?? null, dice),
      this.#timeline,
      this.history,
      this.#agents,
    )
  }

  get bridge(): Bridge {
    return this.#bridge as Bridge
  }

  get orchestrator(): SimulatedHost {
    return this.hosts[0] as SimulatedHost
  }

  async run(): Promise<Outcome> {
    const dice = this.#dice
    const config = chooseConfig(dice)
    await this.#build(dice.whole(3, 7), config)
    this.around.weather = chooseWeather(dice)
    const brokenMs = dice.between(200_000, 400_000)
    for (const episode of planEpisodes(dice, dice.whole(4, 12), brokenMs)) {
      this.#timeline.after(episode.atMs, () => this.#begin(episode))
    }
    await this.#timeline.runTo(brokenMs)
    this.#mendAll()
    await this.#comeToRest()
    await this.#judge()
    return {
      seed: this.#seed,
      violations: this.history.violations,
      digest: this.history.digest(),
      simulatedMs: this.#timeline.now,
      operations: this.history.counts,
      faults: this.around.tally.counts,
      lines: this.history.lines,
    }
  }

  // What episodes do

  isBusy(host: SimulatedHost): boolean {
    return (this.#busy.get(host) ?? 0) > 0
  }

  /** Nothing else is broken about this host until it is released. */
  occupy(host: SimulatedHost): () => void {
    this.#busy.set(host, (this.#busy.get(host) ?? 0) + 1)
    return () => this.#busy.set(host, (this.#busy.get(host) ?? 1) - 1)
  }

  stepClock(machine: Machine, ms: number): void {
    machine.stepWall(ms)
    if (machine === this.server) this.#serverStepped = true
  }

  startBridge(): void {
    if (this.bridge.life.isDead) this.bridge.start(this.#newLife('bridge', this.server))
  }

  /** Cuts so many hosts off at one moment that the cause cannot be theirs. */
  cutMany(): (() => void) | null {
    const whole = this.hosts.filter((host) => !host.isGone && !this.isBusy(host) && host.isRunning)
    const known = this.hosts.length
    const count = Math.max(3, Math.ceil(known * 0.7))
    if (whole.length < count || this.#cutOff.size > 0) return null
    const cut = this.around.dice.some(whole, count)
    const releases = cut.map((host) => this.occupy(host))
    for (const { link } of cut) link.cut('mass partition')
    // who was unheard before it happened is silent for reasons of its own; of who is just back a slow disk hides it for a while
    const isWell = (agent: string): boolean => {
      const { last, before } = this.#witness.heardAt(agent)
      return this.#timeline.now - last < 2 * this.#beatMs && last - before < 2 * this.#beatMs
    }
    this.#cutOff = new Set(cut.map(({ agent }) => agent).filter(isWell))
    return () => {
      for (const release of releases) release()
      for (const { link } of cut) link.heal()
      this.#cutOff = new Set()
    }
  }

  /** Gives a session a new token, and its host the credential some time later. */
  rotate(host: SimulatedHost | null, afterMs: number): (() => void) | null {
    if (host === null) return null
    const { dice, tally, timeline } = this.around
    const old = dice.pick(host.spool.credentials())
    tally.fired('token rotated')
    const createdAt = this.#firstSerial + timeline.now
    void this.#store.rotateToken(old.session, 60_000).then((token) => {
      timeline.after(afterMs, () => host.publish({ ...old, token, createdAt }))
    })
    return () => undefined
  }

  #begin(episode: Episode): void {
    const mend = begin(episode, this)
    if (mend === null) return
    this.#broken.add(episode.fault)
    this.history.note(`episode: ${episode.fault} for ${Math.round(episode.lastsMs / 1000)} s`)
    this.#mends.add(mend)
    this.#timeline.after(episode.lastsMs, () => this.#mendOnceFelt(mend, episode.fault))
  }

  /** A fault that nobody met yet goes on until somebody did. */
  #mendOnceFelt(mend: Mend, what: string): void {
    if (mend.isFelt?.() === false) this.#timeline.after(LOOK_MS, () => this.#mendOnceFelt(mend, what))
    else this.#mend(mend, what)
  }

  #mend(mend: Mend, what: string): void {
    if (!this.#mends.delete(mend)) return
    this.history.note(`mended: ${what}`)
    mend()
  }

  #mendAll(): void {
    this.history.note('everything is mended')
    for (const mend of [...this.#mends]) this.#mend(mend, 'at last')
    this.around.weather = CALM
    this.#givesWork = false
    for (const host of this.hosts) host.hush()
  }

  // How it begins

  async #build(workers: number, config: Config): Promise<void> {
    const { around, history } = this
    const store = this.#witness.seenBy({ name: 'bridge' })
    this.#beatMs = config.host.beatMs
    this.#firstSerial = this.server.wall()
    this.#bridge = new Bridge(store, this.#newLife('bridge', this.server), around)
    const channels: { readonly a: SessionId; readonly b: SessionId }[] = []
    const credentials = new Map<SessionId, string>()
    for (let n = 1; n <= workers; n += 1) {
      const agents = { a: 'orchestrator', b: `s2-worker-${n}` }
      const roles = { a: 'orchestrator', b: ROLES[n - 1] ?? 'tests' }
      const { id, tokens } = await this.#store.openConversation({ agents, roles, lifetimeMs: LIFETIME_MS })
      const channel = { a: `${id}/a`, b: `${id}/b` } as const
      channels.push(channel)
      for (const side of ['a', 'b'] as const) {
        this.#agents.set(channel[side], agents[side])
        credentials.set(channel[side], tokens[side])
      }
    }
    const parts = { around, history, bridge: this.#bridge, onPromised: (text: string) => this.#promised.push(text) }
    const ends = [channels.map(({ a }) => a), ...channels.map(({ b }) => [b])]
    for (const [n, sessions] of ends.entries()) {
      const agent = n === 0 ? 'orchestrator' : `s2-worker-${n}`
      const host = new SimulatedHost(agent, sessions, n > 0, config.host, parts)
      this.hosts.push(host)
      host.spool.onNew = ({ id, to, text }) => this.#onArrived(host, id, to, text)
      host.spool.onAcked = ({ id }) => this.#acked.add(id)
      if (n > 0 && around.dice.chance(0.6)) this.engine.contain(host)
      for (const session of sessions) host.publish(this.#credentialOf(session, agent, credentials.get(session) ?? ''))
      host.start()
    }
    for (const name of ['watchdog-1', 'watchdog-2']) {
      const onTaken = (agent: string, by: string): void => this.#onTaken(agent, by)
      const onAlert = (event: string, incident: number): void => void this.#alerts.add(`${event} ${incident}`)
      const bug = this.#options.bug ?? null
      const onOpened = (cause: string, by: string): void => this.#onOpened(cause, by, config.watch.lateAfterMs)
      const parts = { around, history, witness: this.#witness, engine: this.engine, bug, onTaken, onAlert, onOpened }
      const watchman = new Watchman(name, config.watch, parts)
      this.watchmen.push(watchman)
      watchman.start()
    }
    this.#giveWork(channels)
  }

  #credentialOf(session: SessionId, agent: string, token: string) {
    const createdAt = this.#firstSerial
    return {
      session,
      token,
      agent,
      role: 'any',
      bridgeUrl: 'https://bridge',
      createdAt,
      expiresAt: createdAt + LIFETIME_MS,
    }
  }

  #newLife(program: string, machine: Machine): Life {
    this.#lives += 1
    return new Life(`${program}.${this.#lives}`, machine)
  }

  /** Somebody at the server who wants things done: by this worker, by this role, by anybody; and thinks better of it. */
  #giveWork(channels: readonly { readonly a: SessionId; readonly b: SessionId }[]): void {
    const life = new Life('operator', this.server)
    const { dice } = this.around
    const store = openNear(this.#witness.seenBy({ name: 'operator' }), life, this.around)
    const insist = async (act: () => Promise<unknown>): Promise<void> => {
      for (;;) {
        try {
          await act()
          return
        } catch (error) {
          if ((error as { code?: string }).code === 'conflict') return
          await life.clock.sleep(500)
        }
      }
    }
    new Loop({
      clock: life.clock,
      signal: new AbortController().signal,
      step: async () => {
        if (!this.#givesWork) return LIFETIME_MS
        const task = this.#newTask(channels)
        await insist(() => (dice.chance(0.2) ? this.#writeTask(store, task, channels) : store.addTask(task)))
        if (dice.chance(0.05)) await insist(() => store.cancelTask(task.id))
        return dice.wait(8_000)
      },
      onError: () => 1_000,
    })
  }

  #newTask(channels: readonly { readonly a: SessionId; readonly b: SessionId }[]): NewTask {
    const { dice } = this.around
    this.#tasks += 1
    const { a, b } = dice.pick(channels)
    return {
      id: `task-${this.#tasks}`,
      description: `work for ${Math.round(1_000 + dice.wait(9_000))} ms`,
      priority: dice.pick<Priority>(PRIORITIES),
      role: dice.chance(0.5) ? dice.pick(ROLES) : null,
      holder: dice.chance(0.6) ? b : null,
      deadline: null,
      createdBy: a,
    }
  }

  /** An orchestrator that knows nothing of S2 gives work by a letter. */
  async #writeTask(store: Store, task: NewTask, channels: readonly { readonly a: SessionId }[]): Promise<void> {
    const from = channels[this.#tasks % channels.length]?.a ?? task.createdBy
    if (from === null) return
    const text = JSON.stringify({ type: 'task_assignment', task_id: task.id, description: task.description })
    await store.send(from, `letter ${task.id}`, { text })
  }

  // What is held against the promises

  /** Promise 1: once, and in order. */
  #onArrived(host: SimulatedHost, id: number, to: SessionId, text: string): void {
    const { history } = this
    history.did('message received', `${id} by ${to}`)
    if (!host.sessions.includes(to)) history.violate('to its reader', `${id} for ${to} came to ${host.agent}`)
    const arrivals = this.#arrived.get(to) ?? { last: 0, seen: new Set() }
    this.#arrived.set(to, arrivals)
    if (arrivals.seen.has(id)) history.violate('once', `${id} came to ${to} again`)
    if (id <= arrivals.last) history.violate('in order', `${id} came to ${to} after ${arrivals.last}`)
    arrivals.seen.add(id)
    arrivals.last = id
    const [, count, from] = /^word (\d+) of (.+)$/.exec(text) ?? []
    if (count === undefined) return
    const before = this.#lastWord.get(from as SessionId) ?? 0
    if (Number(count) <= before) history.violate('in order', `word ${count} of ${from} came after word ${before}`)
    this.#lastWord.set(from as SessionId, Number(count))
  }

  /** Promise 5. */
  #onTaken(agent: string, by: string): void {
    if (!this.#cutOff.has(agent)) return
    this.history.violate(
      'mass silence',
      `${by} took work from ${agent}, which was cut off with ${this.#cutOff.size - 1} others`,
    )
  }

  /** Promise 7: that all miss the beats that nobody collects is the bridge's silence, and not theirs as well. */
  #onOpened(cause: string, by: string, lateAfterMs: number): void {
    const { idleMs } = this.bridge
    if (cause !== 'mass_silence' || idleMs < 0.7 * lateAfterMs) return
    this.history.violate(
      'one cause, one incident',
      `${by} opened ${cause} when the bridge had been away for ${Math.round(idleMs)} ms`,
    )
  }

  async #comeToRest(): Promise<void> {
    const end = this.#timeline.now + REST_WITHIN_MS
    while (this.#timeline.now < end) {
      await this.#timeline.runTo(this.#timeline.now + LOOK_MS)
      if ((await this.#unrest()).length > 0) continue
      await this.#timeline.runTo(this.#timeline.now + STAYS_MS)
      if ((await this.#unrest()).length === 0) return
    }
    for (const what of await this.#unrest()) this.history.violate('all comes to rest', what)
  }

  /** What is still to be done, with everything mended. */
  async #unrest(): Promise<string[]> {
    const unrest: string[] = []
    for (const task of await this.#store.tasks({})) {
      if (isOpen(task.state))
        unrest.push(`${task.id} is ${task.state}@${task.epoch} of ${this.#witness.agentOf(task.holder)}`)
      else if (task.state === 'failed') unrest.push(`${task.id} failed: ${task.result?.signal}`)
    }
    for (const host of this.hosts) {
      if (host.isGone) continue
      if (!host.spool.isEmpty) unrest.push(`at ${host.agent} lies ${host.spool.left}`)
      for (const session of host.sessions) {
        const waiting = await this.#store.unacked(session, 0, 100)
        if (waiting.length > 0) unrest.push(`${session} has not received ${waiting.map(({ id }) => id)}`)
      }
    }
    const gone = new Set(
      this.hosts.filter(({ isGone }) => isGone).flatMap(({ agent }) => [`silent:${agent}`, `gone:${agent}`]),
    )
    for (const { cause } of await this.#store.incidents({ open: true })) {
      if (!gone.has(cause)) unrest.push(`${cause} is open`)
    }
    return [...unrest, ...(await this.#untold())]
  }

  /** Incidents that nobody was told of. When alerts are due the server's wall clock says, so where it was stepped they wait. */
  async #untold(): Promise<string[]> {
    if (this.#serverStepped) return []
    const untold: string[] = []
    for (const { id, cause, kind, closedAt } of await this.#store.incidents({ open: false })) {
      if (kind === 'restart') continue // a claim: nobody is to be told
      if (!this.#alerts.has(`opened ${id}`)) untold.push(`nobody was told of ${cause} (${id})`)
      if (closedAt !== null && !this.#alerts.has(`closed ${id}`))
        untold.push(`nobody was told of the end of ${cause} (${id})`)
    }
    return untold
  }

  /** What can be said only in the end. */
  async #judge(): Promise<void> {
    await this.#witness.judge()
    const { history, around } = this
    for (const text of this.#promised) this.#judgeWord(text)
    for (const [operation, least] of Object.entries(LEAST)) {
      const count = history.count(operation as Operation)
      if (count < least) history.violate('enough happened', `${operation} only ${count} times`)
    }
    for (const fault of this.#broken) {
      if (around.tally.of(fault) === 0) history.violate('faults fire', `${fault} was planned, and nothing came of it`)
    }
  }

  /** Promises 1 and 2: what somebody was told is kept arrives, unless whoever should say or read it is gone for good. */
  #judgeWord(text: string): void {
    const from = text.slice(text.lastIndexOf(' ') + 1) as SessionId
    if (this.#isGone(from)) return
    const id = this.#witness.messageOf(text)
    if (id === undefined) this.history.violate('never lost', `“${text}” was kept in an outbox and never sent`)
    else if (!this.#isGone(partnerOf(from)) && !this.#acked.has(id)) {
      this.history.violate('never lost', `“${text}” was sent as ${id} and never received`)
    }
  }

  #isGone(session: SessionId): boolean {
    return this.hosts.some((host) => host.isGone && host.sessions.includes(session))
  }
}

interface Config {
  readonly host: HostConfig
  readonly watch: WatchConfig
}

/** The defaults most of the time; otherwise faster ones, in the same proportions. */
function chooseConfig(dice: Dice): Config {
  const scale = dice.pick([1, 1, 0.5])
  return {
    host: { beatMs: 5_000 * scale, leaseMs: 60_000 * scale, pollMs: 4_000, sayEveryMs: 20_000 },
    watch: {
      lateAfterMs: 15_000 * scale,
      silentAfterMs: 60_000 * scale,
      roundMs: 60_000 * scale,
      watchMs: 1_000,
      leaseMs: 60_000 * scale,
      moveEveryMs: dice.pick([10_000, 2_000]),
      movesMax: 1_000,
      restartAfterMs: 30_000 * scale,
      restartsMax: 3,
      alertExec: null,
      alertWebhook: null,
    },
  }
}

function chooseWeather(dice: Dice): Weather {
  const upTo = (most: number): number => (dice.chance(0.3) ? 0 : most * dice.next() ** 2)
  return {
    lost: upTo(0.06),
    repeated: upTo(0.05),
    delayed: upTo(0.05),
    streamBreaks: upTo(0.05),
    storeRefuses: upTo(0.02),
    outcomeUnknown: upTo(0.02),
    hintLost: upTo(0.8),
    diskSlow: upTo(0.05),
    diskRefuses: upTo(0.01),
  }
}
