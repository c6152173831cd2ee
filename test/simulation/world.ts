import { hashOfSecret } from '#fleet/credential.ts'
import { isEvent } from '#fleet/incident.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import { isOpen, type NewTask, ON_DEADLINE, PRIORITIES, type Priority, type Task } from '#fleet/task.ts'
import { Loop } from '#runtime/loop.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import { type Bug, plant, spoil } from './bugs.ts'
import { Dice } from './chance.ts'
import { Life, Machine, Timeline } from './clock.ts'
import { Engine } from './engine.ts'
import { type Episode, type Mend, planEpisodes, type Scene } from './episodes.ts'
import { type Fault, Tally } from './faults.ts'
import { History, type Operation } from './history.ts'
import { SimulatedHost } from './host.ts'
import { IssuerProgram, keysOf } from './issuing.ts'
import { BEATS_LOST, KEPT_OUT, Lapses } from './lapses.ts'
import { useLightAborts } from './light-abort.ts'
import { Bridge, CALM, openNear, type Surroundings } from './network.ts'
import type { Outcome } from './outcome.ts'
import type { Start } from './rule.ts'
import type { KnownFault } from './rule-parts.ts'
import { RULES } from './rules.ts'
import { chooseSettings, LIFETIME_MS, type Pace, paceOf, type Settings } from './settings.ts'
import { Watchman } from './watchman.ts'
import { Witness } from './witness.ts'
import { chooseWork, describe, isHopeless, isSlow, type Work } from './work.ts'
import { mayTake } from './work-rules.ts'

export interface WorldOptions {
  /** A mistake to make on purpose. */
  readonly bug?: Bug | null
  /** Keeps every line of the history, for people to read. */
  readonly verbose?: boolean
}

/** The least that must have happened for a world to prove anything. */
const LEAST: Readonly<Record<Pace, Readonly<Partial<Record<Operation, number>>>>> = {
  minutes: {
    'message sent': 10,
    'message received': 10,
    'task added': 6,
    'task leased': 6,
    'task completed': 6,
  },
  days: {
    'message sent': 10,
    'message received': 10,
    'task added': 3,
    'task leased': 3,
    'task completed': 3,
  },
}

useLightAborts()

/** Runs the world of a seed: broken for a while, then mended, then at rest. */
export async function runWorld(seed: number, options: WorldOptions = {}): Promise<Outcome> {
  using _bug = plant(options.bug ?? null)
  const world = new World(seed, options)
  return await world.run()
}

/** The two ends of a conversation. */
interface Channel {
  readonly a: SessionId
  readonly b: SessionId
}

/** A whole fleet of real programs on machines that are not. */
class World implements Scene {
  readonly settings: Settings
  readonly around: Surroundings
  readonly server: Machine
  readonly hosts: SimulatedHost[] = []
  readonly watchmen: Watchman[] = []
  readonly history: History
  readonly engine: Engine
  readonly lapses: Lapses
  readonly #seed: number
  readonly #options: WorldOptions
  readonly #timeline = new Timeline()
  readonly #dice: Dice
  readonly #store: Store
  readonly #roles = new Map<string, string>()
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
  readonly #starts = new Map<string, number>()
  readonly #known = new Map<KnownFault, number>()
  readonly #keptOut = new Map<SessionId, () => void>()
  /** Since when each agent's beats are lost one after the other, and what ends the lapse of that. */
  readonly #beatsLost = new Map<string, { readonly since: number; end?: () => void }>()
  /** Agents that were cut off together with most others: nothing of theirs may be moved meanwhile. */
  #cutOff: ReadonlySet<string> = new Set()
  #bridge: Bridge | null = null
  #issuer: IssuerProgram | null = null
  #steppedAt: number | null = null
  #tasks = 0
  #hanging = 0
  #lives = 0
  #givesWork = true

  constructor(seed: number, options: WorldOptions) {
    this.#seed = seed
    this.#options = options
    this.#dice = new Dice(`world ${seed}`)
    this.settings = chooseSettings(paceOf(seed), this.#dice)
    const dice = new Dice(`programs ${seed}`)
    this.around = { timeline: this.#timeline, dice, tally: new Tally(), weather: CALM }
    this.server = this.#newMachine('server')
    this.server.slack = this.settings.slack?.server ?? null
    this.history = new History(this.#timeline, options.verbose ?? false)
    this.lapses = new Lapses(this.#timeline)
    this.engine = new Engine(this.around, this.history, this.settings.engineEveryMs)
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

  get issuer(): IssuerProgram {
    return this.#issuer as IssuerProgram
  }

  get orchestrator(): SimulatedHost {
    return this.hosts[0] as SimulatedHost
  }

  async run(): Promise<Outcome> {
    const { pace, weather, brokenMs } = this.settings
    await this.#build()
    this.around.weather = weather
    for (const episode of planEpisodes(this.#dice, this.settings)) {
      this.#timeline.after(episode.atMs, () => this.#begin(episode))
    }
    await this.#timeline.runTo(brokenMs)
    this.#mendAll()
    const aheadMs = await this.#aheadMs()
    await this.#comeToRest(aheadMs)
    const restMs = Math.max(0, this.#timeline.now - brokenMs - aheadMs)
    await this.#judge()
    return {
      seed: this.#seed,
      pace,
      violations: this.history.violations,
      digest: this.history.digest(),
      simulatedMs: this.#timeline.now,
      restMs,
      startsMax: Math.max(0, ...this.#starts.values()),
      known: Object.fromEntries(this.#known),
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
    this.#steppedAt = this.#timeline.now
    machine.stepWall(ms)
  }

  startBridge(): void {
    this.server.whenAwake(() => {
      if (this.bridge.life.isDead) this.bridge.start(this.#newLife('bridge', this.server))
    })
  }

  startIssuer(): void {
    this.server.whenAwake(() => {
      if (!this.issuer.isRunning) this.issuer.start(this.#newLife('issuer', this.server))
    })
  }

  /** Cuts so many hosts off at one moment that the cause cannot be theirs. */
  cutMany(): Mend | null {
    const whole = this.hosts.filter((host) => !host.isGone && !this.isBusy(host) && host.isRunning)
    const known = this.hosts.length
    const count = Math.max(3, Math.ceil(known * 0.7))
    if (whole.length < count || this.#cutOff.size > 0) return null
    const cut = this.around.dice.some(whole, count)
    const releases = cut.map((host) => this.occupy(host))
    const { beatMs } = this.settings.host
    for (const { link } of cut) link.cut('mass partition')
    // who was unheard before it happened is silent for reasons of its own; of who is just back a slow disk hides it for a while
    const isWell = (agent: string): boolean => {
      const { last, before } = this.#witness.heardAt(agent)
      return this.#timeline.now - last < 2 * beatMs && last - before < 2 * beatMs
    }
    this.#cutOff = new Set(cut.map(({ agent }) => agent).filter(isWell))
    const mend = (): void => {
      for (const release of releases) release()
      for (const { link } of cut) link.heal()
      this.#cutOff = new Set()
    }
    return Object.assign(mend, { touches: cut.map(({ agent }) => agent) })
  }

  #begin({ kind: { fault, begin }, lastsMs }: Episode): void {
    const mend = begin(this, () => this.around.tally.fired(fault))
    if (mend === null) return
    this.#broken.add(fault)
    this.history.note(`episode: ${fault} for ${Math.round(lastsMs / 1000)} s`)
    const end = this.lapses.begin(fault, mend.touches ?? [])
    const mendAndEnd = Object.assign(
      () => {
        mend()
        end()
      },
      { isFelt: () => mend.isFelt?.() !== false },
    )
    this.#mends.add(mendAndEnd)
    this.#timeline.after(lastsMs, () => this.#mendOnceFelt(mendAndEnd, fault))
  }

  /** A fault that nobody met yet goes on until somebody did. */
  #mendOnceFelt(mend: Mend, what: string): void {
    if (this.#mends.has(mend) && mend.isFelt?.() === false) {
      this.#timeline.after(this.settings.host.beatMs, () => this.#mendOnceFelt(mend, what))
    } else this.#mend(mend, what)
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

  async #build(): Promise<void> {
    const { around, history, settings } = this
    const store = this.#witness.seenBy({ name: 'bridge' })
    const bridge = new Bridge(store, this.#newLife('bridge', this.server), around, LIFETIME_MS)
    this.#bridge = bridge
    bridge.onAsked = (session, isBelieved) => this.#onAsked(session, isBelieved)
    const channels: Channel[] = []
    for (let n = 1; n <= settings.workers; n += 1) channels.push(await this.#admit(n))
    const parts = {
      around,
      history,
      bridge,
      bug: this.#options.bug ?? null,
      onPromised: (text: string) => this.#promised.push(text),
      onStarted: (start: Start) => this.#onStarted(start),
      onDone: (task: Task) => this.#witness.noteDone(task),
      onTrouble: (fault: Fault, agent: string) => this.#onTrouble(fault, agent),
    }
    const ends = [channels.map(({ a }) => a), ...channels.map(({ b }) => [b])]
    for (const [n, sessions] of ends.entries()) {
      const agent = n === 0 ? 'orchestrator' : `s2-worker-${n}`
      const machine = n === 0 ? this.#serversOr(agent) : this.#newMachine(agent, around.dice.between(-5_000, 5_000))
      const host = new SimulatedHost(agent, machine, sessions, n > 0, settings.host, parts)
      host.link.onBeat = (isLost) => this.#onBeat(agent, isLost)
      this.hosts.push(host)
      host.spool.onNew = ({ id, to, text }) => this.#onArrived(host, id, to, text)
      host.spool.onAcked = ({ id }) => this.#acked.add(id)
      if (n > 0 && around.dice.chance(0.6)) this.engine.contain(host)
    }
    this.#issuer = new IssuerProgram({
      around,
      store: this.#witness.seenBy({ name: 'issuer' }),
      spool: this.orchestrator.spool,
      everyMs: settings.issueEveryMs,
      rotatesAtMs: settings.nightMs + ROTATES_AFTER_MS,
    })
    this.startIssuer()
    for (const host of this.hosts) this.#timeline.after(SETUP_MS, () => host.start())
    this.#timeline.after(12 * settings.host.beatMs, this.lapses.begin('nobody there yet', 'all'))
    for (let n = 1; n <= settings.watchdogs; n += 1) this.#watch(`watchdog-${n}`)
    const { lapses } = this
    const witness = this.#witness
    const held = {
      timeline: this.#timeline,
      history,
      settings,
      lapses,
      bridge,
      witness,
      watchmen: this.watchmen,
      clocks: { steppedAt: () => this.#steppedAt },
      onKnown: (fault: KnownFault) => this.#onKnown(fault),
      failures: (agent: string, withinMs: number) => this.#failures('tasks', agent, withinMs),
      lostLooks: (agent: string, withinMs: number) => this.#failures('credentials', agent, withinMs),
      roleOf: (agent: string) => this.#roles.get(agent) ?? '',
    }
    const rules = RULES.map((rule) => rule(held))
    witness.holdAgainst(rules)
    const tick = (): void => {
      for (const rule of rules) rule.onTick?.()
      this.#withdrawStalled()
      this.#timeline.after(settings.host.beatMs, tick)
    }
    tick()
    lapses.onEnd = (lapse) => {
      for (const rule of rules) rule.onLapseOver?.(lapse)
    }
    this.#giveWork(channels)
  }

  async #admit(n: number): Promise<Channel> {
    const { roles } = this.settings
    const agents = { a: 'orchestrator', b: `s2-worker-${n}` }
    const role = roles[(n - 1) % roles.length] ?? ''
    this.#roles.set(agents.b, role)
    const { key, recipient } = keysOf(agents.b)
    const { conversation } = await this.#store.admitWorker({
      agent: agents.b,
      key,
      recipient,
      host: agents.b,
      secretHash: null,
      role,
      orchestrator: agents.a,
      lifetimeMs: LIFETIME_MS,
    })
    const channel: Channel = { a: `${conversation}/a`, b: `${conversation}/b` }
    for (const side of ['a', 'b'] as const) this.#agents.set(channel[side], agents[side])
    return channel
  }

  #watch(name: string): void {
    const { around, history, settings, engine } = this
    const onTaken = (agent: string, by: string): void => this.#onTaken(agent, by)
    const onAlert = (event: string, incident: number): void => void this.#alerts.add(`${event} ${incident}`)
    const bug = this.#options.bug ?? null
    const parts = { around, history, witness: this.#witness, engine, bug, onTaken, onAlert }
    const watchman = new Watchman(name, this.#serversOr(name), settings.watch, parts)
    this.watchmen.push(watchman)
    watchman.start()
  }

  /** In worlds of days all that belongs to the orchestrator runs on one machine, as by default; in others each has its own. */
  #serversOr(name: string): Machine {
    return this.settings.pace === 'days' ? this.server : this.#newMachine(name)
  }

  #newMachine(name: string, offMs = 0): Machine {
    const machine = new Machine(name, this.#timeline, offMs)
    machine.slack = this.settings.slack?.host ?? null
    return machine
  }

  #newLife(program: string, machine: Machine): Life {
    this.#lives += 1
    return new Life(`${program}.${this.#lives}`, machine)
  }

  /** Somebody at the server who wants things done: by this worker, by this role, by anybody; and thinks better of it. */
  #giveWork(channels: readonly Channel[]): void {
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
      signal: life.unending,
      step: async () => {
        if (!this.#givesWork) return NEVER_MS
        const task = this.#newTask(channels)
        const isWritten = dice.chance(0.2) // decided once: a letter and a task of one name are two tasks
        await insist(() => (isWritten ? this.#writeTask(store, task, channels) : store.addTask(task)))
        if (dice.chance(0.05)) await insist(() => store.cancelTask(task.id))
        return dice.wait(this.settings.taskEveryMs)
      },
      onError: () => 1_000,
    })
  }

  #newTask(channels: readonly Channel[]): NewTask {
    const { dice } = this.around
    this.#tasks += 1
    const { a, b } = dice.pick(channels)
    const { roles, wantedRoles, deadlineMs } = this.settings
    const role = dice.chance(0.5) ? dice.pick(wantedRoles) : null
    return {
      id: `task-${this.#tasks}`,
      description: describe(this.#chooseWork()),
      priority: dice.pick<Priority>(PRIORITIES),
      role,
      holder: dice.chance(0.6) ? b : null,
      deadline: dice.chance(DEADLINES) ? this.server.wall() + dice.between(...deadlineMs) : null,
      createdBy: a,
      otherRoles: role !== null && dice.chance(0.3) ? [dice.pick(roles)] : [],
      onDeadline: dice.pick(ON_DEADLINE),
    }
  }

  /** So many hanging commands and no more: where most that work hang together, a person has to see to it. */
  #chooseWork(): Work {
    const { workMs, quietMs, brokenMs } = this.settings
    for (;;) {
      const work = chooseWork(this.around.dice, workMs, quietMs)
      // what comes to its end slowly comes early, or the world would take long to come to rest
      if (isSlow(work) && this.#timeline.now > brokenMs / 3) continue
      if (work.trouble !== 'hangs') return work
      this.#hanging += 1
      if (this.#hanging <= HANGING_MOST) return work
    }
  }

  /** What hangs, and no other agent can take, somebody withdraws in the end who was told of it. */
  #withdrawStalled(): void {
    const { stallAfterMs } = this.settings.watch
    for (const { kind, cause, openedAt } of this.#witness.openIncidents()) {
      if (kind !== 'task_stalled' || this.#timeline.now - openedAt < 2 * stallAfterMs) continue
      const [, task] = /^task_stalled:(.+)@\d+$/.exec(cause) ?? []
      const store = this.#witness.seenBy({ name: 'operator' })
      if (task !== undefined) store.cancelTask(task).catch(() => undefined)
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

  #onStarted(start: Start): void {
    const { id } = start.task
    if (start.isPlaceWell) this.#starts.set(id, (this.#starts.get(id) ?? 0) + 1)
    this.#witness.noteStart(start)
  }

  #onTrouble(fault: Fault, agent: string): () => void {
    this.around.tally.fired(fault)
    return this.lapses.begin(fault, [agent])
  }

  /** Whom the bridge does not let in has a lapse until it does, whatever the reason. */
  #onAsked(session: SessionId, isBelieved: boolean): void {
    const end = this.#keptOut.get(session)
    if (isBelieved && end !== undefined) {
      this.#keptOut.delete(session)
      this.history.did('host let in again', session)
      end()
    } else if (!isBelieved && end === undefined) {
      this.#keptOut.set(session, this.lapses.begin(KEPT_OUT, [this.#witness.agentOf(session)]))
    }
  }

  /** Beats that are lost for half of a silence, one after the other, are a lapse until one gets through. */
  #onBeat(agent: string, isLost: boolean): void {
    const { now } = this.#timeline
    const lost = this.#beatsLost.get(agent) ?? { since: now }
    if (isLost) {
      this.#beatsLost.set(agent, lost)
      if (now - lost.since >= this.settings.watch.silentAfterMs / 2) lost.end ??= this.lapses.begin(BEATS_LOST, [agent])
      return
    }
    this.#beatsLost.delete(agent)
    lost.end?.()
  }

  #failures(of: 'tasks' | 'credentials', agent: string, withinMs: number): number {
    const failedAt = this.hosts.find((host) => host.agent === agent)?.link.failedAt[of] ?? []
    return failedAt.filter((at) => at >= this.#timeline.now - withinMs).length
  }

  #onKnown(fault: KnownFault): void {
    this.history.note(`known: ${fault}`)
    this.#known.set(fault, (this.#known.get(fault) ?? 0) + 1)
  }

  /** Promise 5. */
  #onTaken(agent: string, by: string): void {
    if (!this.#cutOff.has(agent)) return
    this.history.violate(
      'mass silence',
      `${by} took work from ${agent}, which was cut off with ${this.#cutOff.size - 1} others`,
    )
  }

  async #comeToRest(aheadMs: number): Promise<void> {
    const { restWithinMs, staysMs, host } = this.settings
    const end = this.#timeline.now + restWithinMs + aheadMs
    while (this.#timeline.now < end) {
      await this.#timeline.runTo(this.#timeline.now + host.beatMs)
      if ((await this.#unrest()).length > 0) continue
      await this.#timeline.runTo(this.#timeline.now + staysMs)
      if ((await this.#unrest()).length === 0) return
    }
    for (const what of await this.#unrest()) this.history.violate('all comes to rest', what)
  }

  /** For how long hosts take no new credential because it is of a time to come: the server's clock was ahead when it was made. */
  async #aheadMs(): Promise<number> {
    const serials = (await this.#store.workers()).map(({ serial }) => serial)
    return Math.max(0, ...serials.map((serial) => serial - this.server.wall()))
  }

  /** What is still to be done, with everything mended. */
  async #unrest(): Promise<string[]> {
    const unrest: string[] = []
    for (const task of await this.#store.tasks({})) {
      if (isOpen(task.state) && !this.#isForPeople(task))
        unrest.push(`${task.id} is ${task.state}@${task.epoch} of ${this.#witness.agentOf(task.holder)}`)
    }
    for (const host of this.hosts) {
      if (host.isGone) continue
      if (!host.spool.isEmpty) unrest.push(`at ${host.agent} lies ${host.spool.left}`)
      for (const session of host.sessions) {
        const waiting = await this.#store.unacked(session, 0, 100)
        if (waiting.length > 0) unrest.push(`${session} has not received ${waiting.map(({ id }) => id)}`)
      }
      unrest.push(...(await this.#notBack(host)))
    }
    const gone = new Set(
      this.hosts
        .filter(({ isGone }) => isGone)
        .flatMap(({ agent }) =>
          ['silent', 'gone', 'sick', 'parked', 'task_not_taken'].map((kind) => `${kind}:${agent}`),
        ),
    )
    const conditions = await this.#store.conditions()
    const trying = new Set(
      conditions.flatMap(({ session, state }) => (state === 'probing' ? [this.#witness.agentOf(session)] : [])),
    )
    for (const { cause, kind, agent } of await this.#store.incidents({ open: true })) {
      if (kind === 'flapping') continue // it ends when its agent has been steady for half an hour: longer than a world has
      if ((kind === 'sick' || kind === 'parked') && this.#isLeftAsSick(agent ?? '', trying)) continue
      if (kind === 'task_stranded' && this.#witness.openTasks().some((task) => this.#isForPeople(task))) continue
      if (!gone.has(cause)) unrest.push(`${cause} is open`)
    }
    return [...unrest, ...(await this.#untold())]
  }

  #isForPeople(task: Task): boolean {
    return this.#isStranded(task) || this.#isLeftToPeople(task)
  }

  /** It waits for a role of which nobody is left: people were told. */
  #isStranded(task: Task): boolean {
    return (task.holder === null || this.#isGone(task.holder)) && this.#takersOf(task).length === 0
  }

  #takersOf(task: Task): SimulatedHost[] {
    const { fallback } = this.settings.watch
    return this.hosts
      .slice(1)
      .filter(({ agent, isGone }) => !isGone && mayTake(task, this.#roles.get(agent) ?? '', fallback))
  }

  /** It always fails, and whoever could fail at it once more is told of as sick: tries there grow rare, so it takes long to its end. */
  #isLeftToPeople(task: Task): boolean {
    const takers = this.#takersOf(task)
    return isHopeless(task) && takers.length > 0 && takers.every(({ agent }) => this.#isToldOfAsSick(agent))
  }

  #isToldOfAsSick(agent: string): boolean {
    return this.#witness.openIncidents().some((incident) => incident.kind === 'sick' && incident.agent === agent)
  }

  /** A place that is told of as sick is well with the next task that is done there: one that can be done may not come any more. */
  #isLeftAsSick(agent: string, trying: ReadonlySet<string>): boolean {
    if (trying.has(agent)) return true
    const isItsOwn = (task: Task): boolean =>
      this.#isLeftToPeople(task) && this.#takersOf(task).some((host) => host.agent === agent)
    return this.#witness.openTasks().some(isItsOwn)
  }

  /** Whoever slept, was cut off or fell out of its conversation is back without a person: it is heard, by tokens that count. */
  async #notBack({ agent, sessions, spool }: SimulatedHost): Promise<string[]> {
    const unheardMs = this.#timeline.now - this.#witness.heardAt(agent).last
    const notBack: string[] = []
    if (unheardMs > 3 * this.settings.host.beatMs)
      notBack.push(`${agent} was not heard for ${Math.round(unheardMs)} ms`)
    for (const session of sessions) {
      const inForce = (await this.#store.tokens(session).catch(() => [])).map(hashOfSecret)
      const held = spool.credentials().find((each) => each.session === session)
      if (held === undefined || !inForce.includes(hashOfSecret(held.token)))
        notBack.push(`${agent} has no token of ${session}`)
    }
    return notBack
  }

  /** Incidents that nobody was told of. */
  async #untold(): Promise<string[]> {
    const untold: string[] = []
    for (const { id, cause, kind, closedAt } of await this.#store.incidents({ open: false })) {
      if (kind === 'restart') continue // a claim: nobody is to be told
      if (!this.#alerts.has(`opened ${id}`)) untold.push(`nobody was told of ${cause} (${id})`)
      if (closedAt !== null && !isEvent({ kind }) && !this.#alerts.has(`closed ${id}`))
        untold.push(`nobody was told of the end of ${cause} (${id})`)
    }
    return untold
  }

  /** What can be said only in the end. */
  async #judge(): Promise<void> {
    await this.#witness.judge()
    const { history, around } = this
    for (const text of this.#promised) this.#judgeWord(text)
    const { pace, host } = this.settings
    const beatsLeast = Math.floor((2 * this.lapses.clearMs()) / host.beatMs) // of two hosts of several
    for (const [operation, least] of Object.entries({ ...LEAST[pace], 'beat heard': beatsLeast })) {
      const count = history.count(operation as Operation)
      if (count < least) history.violate('enough happened', `${operation} only ${count} times of ${least}`)
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

/** Hosts are started when the issuer has had time for their credentials. */
const SETUP_MS = 1_000
/** All tokens are made anew so long after the first night has begun, and once a day from then on. */
const ROTATES_AFTER_MS = 4 * 3_600_000
/** So many tasks have a deadline. */
const DEADLINES = 0.1
/** So few hang that they are never most of those that work, nor three. */
const HANGING_MOST = 2
/** Longer than any world lasts. */
const NEVER_MS = 1_000 * 86_400_000
