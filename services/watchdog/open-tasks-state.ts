import { type AgentCondition, isUnable } from '#fleet/agent-condition.ts'
import type { Roster } from '#fleet/failure-detector.ts'
import { LeaseObserver, type LeaseReader } from '#fleet/lease-observer.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { WorkObserver, type WorkReader } from '#fleet/work-observer.ts'
import { RestByCost } from '#runtime/rest-by-cost.ts'
import type { WatchConfig } from './config.ts'
import type { FleetObservation, Observed } from './fleet-observation.ts'

/** The open tasks as they were read last, to read and not to write. Times are by the watchdog's clock that never jumps. */
export interface Board {
  readonly tasks: readonly Task[]
  /** The agents that hold any of them. */
  readonly holders: ReadonlySet<string>
  readonly leases: LeaseReader
  /** The clocks of the tasks. */
  readonly work: WorkReader
  /** What agents say of their places, by agent; those that are well are not named. */
  readonly conditions: ReadonlyMap<string, AgentCondition>
  /** Agents that were not well, and have said since that they are. */
  readonly saidWell: ReadonlySet<string>
  /** Since when agents that would try with one task whether they can work again have had none. */
  readonly readyToTry: ReadonlyMap<string, number>
  /** From when on the tasks of the next failed agent may be moved. */
  readonly turnAt: number
  /** Since when some task has had no agent to go to; null where each has one. */
  readonly strandedSince: number | null
  /** When most agents that work were last found to stall together, whoever found that; -Infinity where they never were. */
  readonly stalledTogetherAt: number
}

/** What a decision leaves to be remembered about tasks. */
export interface BoardMemory {
  /** How many failed agents wait for their turn. */
  readonly waiting: number
  readonly strandedSince: number | null
  readonly stalledTogetherAt: number
  /** From when on beats have to be read before the rest can be decided; null where all was decided. */
  readonly beatsWantedSince: number | null
  /** The failed agents whose tasks this watchdog itself moves. */
  readonly movedFrom: readonly string[]
}

/** How often open tasks are read although nothing happened: a task without a holder waits this long at most. */
const READ_EVERY_MS = 1_000
/** How seldom they may be read, however long that takes. */
const READ_EVERY_MS_MAX = 10_000
/** Reading tasks may take one part in so many of the watchdog's time: deadlines come first. */
const READ_SHARE = 200

type BoardConfig = Pick<WatchConfig, 'leaseMs' | 'roundMs' | 'moveEveryMs' | 'takeWithinMs'>

/** Open tasks, their leases and clocks, and whose turn it is to have its tasks moved. */
export class OpenTasksState implements Board {
  readonly #config: BoardConfig
  readonly #leases: LeaseObserver
  readonly #work: WorkObserver
  readonly #readCost = new RestByCost(READ_SHARE)
  #tasks: readonly Task[] = []
  #said: readonly AgentCondition[] = []
  #conditions: ReadonlyMap<string, AgentCondition> = new Map()
  /** The sessions that said the conditions before these. */
  #saidBefore: readonly SessionId[] = []
  readonly #saidWell = new Set<string>()
  #readyToTry: ReadonlyMap<string, number> = new Map()
  #holders: ReadonlySet<string> = new Set()
  #endedHolders: ReadonlySet<SessionId> = new Set()
  #readAt = Number.NEGATIVE_INFINITY
  #answeredAt = Number.NEGATIVE_INFINITY
  #isStale = true
  /** How many losses had been observed when the tasks were read. */
  #lossCount = 0
  #turnAt = Number.NEGATIVE_INFINITY
  #memory: BoardMemory = {
    waiting: 0,
    strandedSince: null,
    stalledTogetherAt: Number.NEGATIVE_INFINITY,
    beatsWantedSince: null,
    movedFrom: [],
  }

  constructor(config: BoardConfig) {
    this.#config = config
    this.#leases = new LeaseObserver(config.leaseMs)
    this.#work = new WorkObserver(config.takeWithinMs)
  }

  get tasks(): readonly Task[] {
    return this.#tasks
  }

  get holders(): ReadonlySet<string> {
    return this.#holders
  }

  get leases(): LeaseReader {
    return this.#leases
  }

  get work(): WorkReader {
    return this.#work
  }

  get conditions(): ReadonlyMap<string, AgentCondition> {
    return this.#conditions
  }

  get saidWell(): ReadonlySet<string> {
    return this.#saidWell
  }

  get readyToTry(): ReadonlyMap<string, number> {
    return this.#readyToTry
  }

  get turnAt(): number {
    return this.#turnAt
  }

  get strandedSince(): number | null {
    return this.#memory.strandedSince
  }

  get stalledTogetherAt(): number {
    return this.#memory.stalledTogetherAt
  }

  /** Whether the tasks should be read again at `at`, by what was observed since they were. */
  isDue(at: number, { lossCount, readAt }: Pick<FleetObservation, 'lossCount' | 'readAt'>): boolean {
    return this.#isStale || lossCount !== this.#lossCount || this.nextReadAt <= at || this.hasWaitedFor(readAt)
  }

  /** A decision waits for beats that are read later than the tasks were. */
  get waitsForBeats(): boolean {
    return this.#memory.beatsWantedSince !== null
  }

  /** Whether a decision waited for the beats that were read at this moment. */
  hasWaitedFor(readAt: Observed['readAt']): boolean {
    const { beatsWantedSince } = this.#memory
    return readAt !== null && beatsWantedSince !== null && beatsWantedSince <= readAt.now
  }

  /** When the tasks are to be read though nothing happens. */
  get nextReadAt(): number {
    const turn = this.#memory.waiting > 0 ? this.#turnAt : Number.POSITIVE_INFINITY
    return Math.min(this.#readAt + this.#readEveryMs, turn, this.#leases.nextLapse)
  }

  /** Takes in the open tasks and the conditions of places: when they were asked for, how long that took, and how many losses had been observed then. */
  take(
    tasks: readonly Task[],
    conditions: readonly AgentCondition[],
    at: number,
    tookMs: number,
    lossCount: number,
  ): void {
    this.#tasks = tasks
    this.#saidBefore = this.#said.map(({ session }) => session)
    this.#said = conditions
    this.#readAt = at
    this.#answeredAt = at + tookMs
    this.#readCost.note(tookMs)
    this.#lossCount = lossCount
    this.#isStale = false
    this.#memory = { ...this.#memory, beatsWantedSince: null }
  }

  /** Whether a task is held by a session of which it is not known whose it is, or that its conversation has ended. */
  hasUnknownHolder(roster: Pick<Roster, 'agentOf'>): boolean {
    return this.#tasks.some(({ holder }) => {
      return holder !== null && roster.agentOf(holder) === undefined && !this.#endedHolders.has(holder)
    })
  }

  /** The conversations were read after the tasks: a holder that they do not name has none any more. */
  noteEndedHolders(roster: Pick<Roster, 'agentOf'>): void {
    const holders = this.#tasks.flatMap(({ holder }) => (holder === null ? [] : [holder]))
    this.#endedHolders = new Set(holders.filter((holder) => roster.agentOf(holder) === undefined))
  }

  /**
   * Sees whose the tasks are. The moves of another watchdog take up the turn as well: together they move no faster than one. Of
   * the agents `told` an incident says that they take nothing.
   */
  observeHolders(
    { fleet, lost, clients }: Pick<FleetObservation, 'fleet' | 'lost' | 'clients'>,
    at: number,
    wall: number,
    told: ReadonlySet<string>,
  ): void {
    const holders = this.#tasks.flatMap(({ holder }) => (holder === null ? [] : (fleet.agentOf(holder) ?? [])))
    this.#holders = new Set(holders)
    this.#conditions = byAgent(this.#said, fleet)
    this.#noteWell(fleet)
    const ready = [...this.#conditions].filter(([agent, { state }]) => state === 'probing' && !this.#holders.has(agent))
    this.#readyToTry = new Map(ready.map(([agent]) => [agent, this.#readyToTry.get(agent) ?? at]))
    const losers = this.#leases.observe(this.#tasks, fleet, at, this.#answeredAt)
    const unable = new Set([...this.#conditions].flatMap(([agent, { state }]) => (isUnable(state) ? [agent] : [])))
    const watched = new Set([...clients.agents()].filter((agent) => clients.of(agent) !== null))
    const waiting = new Set([...watched].filter((agent) => clients.of(agent)?.activity.state === 'waiting'))
    this.#work.observe(this.#tasks, fleet, at, wall, { told, unable, waiting, watched }, this.#answeredAt)
    const wasServedByOthers = (agent: string): boolean => {
      return !this.#memory.movedFrom.includes(agent) && (lost.has(agent) || this.#leases.isStuck(agent))
    }
    if (this.#turnAt <= at && [...losers].some(wasServedByOthers)) this.beginTurn(at)
    this.#memory = { ...this.#memory, movedFrom: [] }
  }

  remember(memory: BoardMemory): void {
    this.#memory = memory
  }

  /** Tasks are about to be moved: they are to be read again. */
  invalidate(): void {
    this.#isStale = true
  }

  /** Tasks of a failed agent were moved in a look that began at `at`: the next one has to wait. */
  beginTurn(at: number): void {
    this.#turnAt = at + this.#config.moveEveryMs
  }

  /** The watchdog was paused or blind: every lease counts as renewed now. */
  grace(now: number): void {
    this.#leases.grace(now)
    this.#work.grace(now)
    this.#readyToTry = new Map()
    this.#memory = { ...this.#memory, strandedSince: null }
  }

  /** What a session said is kept when its conversation ends: it is gone when the session said so. */
  #noteWell(fleet: Pick<Roster, 'agentOf'>): void {
    const said = new Set(this.#said.map(({ session }) => session))
    for (const session of this.#saidBefore) {
      const agent = said.has(session) ? undefined : fleet.agentOf(session)
      if (agent !== undefined) this.#saidWell.add(agent)
    }
    for (const agent of this.#conditions.keys()) this.#saidWell.delete(agent)
  }

  get #readEveryMs(): number {
    const cheapMs = Math.min(READ_EVERY_MS, this.#config.leaseMs / 4, this.#config.roundMs)
    return Math.max(cheapMs, this.#readCost.restMs(READ_EVERY_MS_MAX))
  }
}

/** An agent with several sessions that says different things of them cannot work. */
function byAgent(
  conditions: readonly AgentCondition[],
  fleet: Pick<Roster, 'agentOf'>,
): ReadonlyMap<string, AgentCondition> {
  const found = new Map<string, AgentCondition>()
  for (const condition of conditions) {
    const agent = fleet.agentOf(condition.session)
    if (agent !== undefined && (condition.state !== 'probing' || !found.has(agent))) found.set(agent, condition)
  }
  return found
}
