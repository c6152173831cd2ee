import type { AgentProcessTable } from './agent-processes.ts'
import type { Roster } from './liveness.ts'
import type { SessionId } from './session.ts'
import { isLeased, type Move, type MoveReason, PRIORITIES, type Task } from './task.ts'

/** Who could take a task over: alive, heard since the last grace, and with an end to hold it by. */
export interface Candidate {
  readonly agent: string
  readonly role: string
  readonly host: string | null
  readonly session: SessionId
  /** Open tasks that it holds. */
  readonly load: number
  /** It beats, but let its leases lapse and showed no work since, or what it runs in is paused or unwell: the last resort. */
  readonly stuck: boolean
}

/** The agent that a task is taken from. */
export type Failed = Pick<Candidate, 'agent' | 'role' | 'host'>

/** A task that should have another owner. */
export interface Need {
  readonly task: Task
  readonly reason: MoveReason
  /** Null where nobody held it, or nobody is known by the session that did. */
  readonly failed: Failed | null
  /** When it came to need one, by the observer's clock: who failed first is served first. */
  readonly since: number
}

export interface PlannedMove {
  readonly move: Move
  readonly need: Need
  readonly successor: string
}

export interface Plan {
  readonly moves: readonly PlannedMove[]
  /** Moved too often already: a human is asked. */
  readonly exhausted: readonly Task[]
  /** With nobody there who could take them. */
  readonly stranded: readonly Task[]
  /** How many failed agents have tasks that must wait for their turn. */
  readonly waiting: number
}

export interface MoveLimits {
  /** How often one task may be moved before a human is asked. */
  readonly movesMax: number
  /** The tasks of how many failed agents may be moved now. */
  readonly agentsNow: number
  /** Roles of agents that may yet be heard: work that nobody has begun waits for them. */
  readonly expected: ReadonlySet<string>
  /** Work for a role that nobody has waits as well, unless it was found before this moment: somebody may join. */
  readonly patientSince: number
}

/**
 * When each open task last showed a sign of its holder, by the observer's own clock. A lease lapses when its sequence
 * stood still for leaseMs. Who lets one lapse and renews no other is stuck until it shows work: its daemon's beats do
 * not vouch for it, and what it was assigned but never took must go as well.
 *
 * Tasks that an agent of the Python bridge took have no incarnation: nobody renews those, so they do not lapse.
 */
export class Leases {
  readonly #leaseMs: number
  #signs = new Map<string, Sign>()
  #observedAt = 0
  #nextLapse = Number.POSITIVE_INFINITY
  readonly #stuck = new Map<string, Mark>()

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs
  }

  /** Takes in all open tasks as they are at `now`. Answers which agents tasks went away from since the last time. */
  observe(tasks: readonly Task[], roster: Roster, now: number): ReadonlySet<string> {
    const before = this.#signs
    const left = new Set<string>()
    this.#signs = new Map()
    this.#observedAt = now
    for (const task of tasks) {
      const agent = task.holder === null ? null : (roster.agentOf(task.holder) ?? null)
      const known = before.get(task.id)
      const stoodStill = known !== undefined && isSame(known.task, task)
      this.#signs.set(task.id, { task, agent, at: stoodStill ? known.at : now })
      if (known !== undefined && known.agent !== null && known.task.holder !== task.holder) left.add(known.agent)
      if (!stoodStill && agent !== null && isLeased(task.state)) this.#stuck.delete(agent)
    }
    this.#markStuck(roster)
    this.#findNextLapse()
    return left
  }

  /** Since when nothing happened to this task; null when it was not observed. */
  stillSince(task: Task): number | null {
    return this.#signs.get(task.id)?.at ?? null
  }

  /** Since when the holder has let this task lie; null while it does not. */
  lapsedAt(task: Task): number | null {
    const sign = this.#signs.get(task.id)
    if (sign === undefined || sign.agent === null) return null
    const mark = this.#stuck.get(sign.agent)
    if (!hasLease(sign.task) && mark === undefined) return null
    if (sign.at + this.#leaseMs <= this.#observedAt) return sign.at + this.#leaseMs
    return mark !== undefined && sign.at <= mark.at ? mark.at : null
  }

  isStuck(agent: string): boolean {
    return this.#stuck.has(agent)
  }

  /** When the next lease lapses unless it is renewed; Infinity when none can. */
  get nextLapse(): number {
    return this.#nextLapse
  }

  /** The observer did not see for a while: every lease counts as renewed now. */
  grace(now: number): void {
    this.#observedAt = now
    for (const sign of this.#signs.values()) sign.at = now
    this.#findNextLapse()
  }

  #findNextLapse(): void {
    this.#nextLapse = Number.POSITIVE_INFINITY
    for (const { task, at } of this.#signs.values()) {
      const lapse = at + this.#leaseMs
      if (hasLease(task) && lapse > this.#observedAt) this.#nextLapse = Math.min(this.#nextLapse, lapse)
    }
  }

  #markStuck(roster: Roster): void {
    const lapsed = new Set<string>()
    const renewing = new Set<string>()
    for (const { task, agent, at } of this.#signs.values()) {
      if (agent === null || !hasLease(task)) continue
      const side = at + this.#leaseMs <= this.#observedAt ? lapsed : renewing
      side.add(agent)
    }
    for (const [agent, { work }] of this.#stuck) {
      if (roster.standing(agent)?.signs !== work) this.#stuck.delete(agent)
    }
    for (const agent of lapsed) {
      if (renewing.has(agent) || this.#stuck.has(agent)) continue
      this.#stuck.set(agent, { at: this.#observedAt, work: roster.standing(agent)?.signs ?? 0 })
    }
  }
}

interface Sign {
  readonly task: Task
  /** Who held it when it was read. */
  readonly agent: string | null
  at: number
}

/** When an agent was found stuck, and what it had shown of work by then. */
interface Mark {
  readonly at: number
  readonly work: number
}

function hasLease(task: Task): boolean {
  return isLeased(task.state) && task.incarnation !== null
}

function isSame(x: Task, y: Task): boolean {
  return (
    x.epoch === y.epoch &&
    x.state === y.state &&
    x.leaseSeq === y.leaseSeq &&
    x.holder === y.holder &&
    x.incarnation === y.incarnation
  )
}

/**
 * Which open tasks should have another owner. A lost agent loses its own once an incident tells of it: those whom a mass
 * silence holds have none. `tasks` must have been read before the conversations that the roster
 * knows of: a holder that the later reading does not name has no conversation any more.
 */
export function findNeeds(tasks: readonly Task[], roster: Roster, leases: Leases, now: number): Need[] {
  const needs: Need[] = []
  for (const task of tasks) {
    if (task.holder === null) {
      needs.push({ task, reason: 'unassigned', failed: null, since: leases.stillSince(task) ?? now })
      continue
    }
    const failed = roster.standing(roster.agentOf(task.holder) ?? '')
    if (failed === undefined) {
      needs.push({ task, reason: 'conversation_ended', failed: null, since: leases.stillSince(task) ?? now })
      continue
    }
    const lapsedAt = leases.lapsedAt(task)
    const { verdict } = failed
    if ((verdict === 'silent' || verdict === 'gone') && roster.hasIncident(failed.agent)) {
      needs.push({ task, reason: verdict, failed, since: failed.since })
    } else if (lapsedAt !== null) needs.push({ task, reason: 'lease_lapsed', failed, since: lapsedAt })
  }
  return needs
}

/** Who could take tasks now. An agent with only ends `a` gives work and takes none. */
export function findCandidates(
  tasks: readonly Task[],
  roster: Roster,
  leases: Leases,
  bodies: Pick<AgentProcessTable, 'isHindered'>,
): Candidate[] {
  const loads = new Map<string, number>()
  for (const { holder } of tasks) {
    const agent = holder === null ? undefined : roster.agentOf(holder)
    if (agent !== undefined) loads.set(agent, (loads.get(agent) ?? 0) + 1)
  }
  const candidates: Candidate[] = []
  for (const { agent, role, host, verdict, proven, taskSession } of roster.standings()) {
    if (verdict !== 'alive' || !proven || taskSession === null) continue
    const stuck = leases.isStuck(agent) || bodies.isHindered(agent)
    candidates.push({ agent, role, host, session: taskSession, load: loads.get(agent) ?? 0, stuck })
  }
  return candidates
}

/** Roles of agents that cannot take work now and may yet be heard. */
export function expectedRoles(roster: Roster): ReadonlySet<string> {
  const roles = new Set<string>()
  for (const { role, verdict, proven, taskSession } of roster.standings()) {
    if (taskSession !== null && (verdict === 'late' || (verdict === 'alive' && !proven))) roles.add(role)
  }
  return roles
}

/**
 * Who takes a task over: never the failed agent, not one on its host if any other is there, not a stuck one if any other
 * is there; of the wanted role, else of the failed agent's, else any; then the least loaded, then by name. Null: nobody.
 */
export function chooseSuccessor(
  wanted: string | null,
  failed: Failed | null,
  candidates: Iterable<Candidate>,
): Candidate | null {
  let best: Candidate | null = null
  for (const candidate of candidates) {
    if (candidate.agent === failed?.agent) continue
    if (best === null || compare(candidate, best, wanted, failed) < 0) best = candidate
  }
  return best
}

/** Below zero when `x` is the better successor. */
function compare(x: Candidate, y: Candidate, wanted: string | null, failed: Failed | null): number {
  return (
    Number(sharesHost(x, failed)) - Number(sharesHost(y, failed)) ||
    Number(x.stuck) - Number(y.stuck) ||
    strangeness(x, wanted, failed) - strangeness(y, wanted, failed) ||
    x.load - y.load ||
    (x.agent < y.agent ? -1 : 1)
  )
}

function sharesHost({ host }: Candidate, failed: Failed | null): boolean {
  return host !== null && host === failed?.host
}

function strangeness({ role }: Candidate, wanted: string | null, failed: Failed | null): number {
  if (role === wanted) return 0
  return role === failed?.role ? 1 : 2
}

/** What to move now, the most urgent first; the rest of the needs come again with the next look. */
export function planMoves(needs: readonly Need[], candidates: readonly Candidate[], limits: MoveLimits): Plan {
  const free = new Map(candidates.map((candidate) => [candidate.agent, candidate]))
  const present = new Set(candidates.map(({ role }) => role))
  const moves: PlannedMove[] = []
  const exhausted: Task[] = []
  const stranded: Task[] = []
  const served = new Set<string>()
  const waiting = new Set<string>()
  for (const need of inOrder(needs)) {
    const { task, reason, failed } = need
    if (reason !== 'unassigned' && task.moves >= limits.movesMax) {
      exhausted.push(task)
      continue
    }
    if (task.role !== null && !present.has(task.role) && mayWait(need, task.role, limits)) continue
    const successor = chooseSuccessor(task.role, failed, free.values())
    if (successor === null) {
      stranded.push(task)
      continue
    }
    const turn = turnOf(need)
    if (turn !== null && !served.has(turn) && served.size >= limits.agentsNow) {
      waiting.add(turn)
      continue
    }
    if (turn !== null) served.add(turn)
    free.set(successor.agent, { ...successor, load: successor.load + 1 })
    moves.push({
      move: { task: task.id, epoch: task.epoch, to: successor.session, reason },
      need,
      successor: successor.agent,
    })
  }
  return { moves, exhausted, stranded, waiting: waiting.size }
}

/** By whose failure it waits its turn: one agent, or one session whose agent is not known any more. Dealing waits for none. */
function turnOf({ task, failed }: Need): string | null {
  return failed?.agent ?? task.holder
}

/** Whether a task may wait for its role: never one that an agent was at, or about to be, until it failed. */
function mayWait({ reason, since }: Need, role: string, { expected, patientSince }: MoveLimits): boolean {
  if (reason === 'silent' || reason === 'gone' || reason === 'lease_lapsed') return false
  return expected.has(role) || since > patientSince
}

function inOrder(needs: readonly Need[]): Need[] {
  return [...needs].sort(
    (x, y) =>
      x.since - y.since ||
      urgency(x) - urgency(y) ||
      x.task.createdAt - y.task.createdAt ||
      (x.task.id < y.task.id ? -1 : 1),
  )
}

function urgency({ task }: Need): number {
  return PRIORITIES.indexOf(task.priority)
}
