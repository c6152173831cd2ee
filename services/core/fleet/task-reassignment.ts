import type { AgentProcessTable } from './agent-processes.ts'
import type { Roster } from './failure-detector.ts'
import type { LeaseReader } from './lease-observer.ts'
import type { SessionId } from './session-id.ts'
import { type Move, type MoveReason, PRIORITIES, type Task } from './task.ts'

/** An agent that could take a task over: alive, heard since the last grace, and with a session to hold it by. */
export interface Candidate {
  readonly agent: string
  readonly role: string
  readonly host: string | null
  readonly session: SessionId
  /** Open tasks that it holds. */
  readonly load: number
  /** It beats, but let its leases lapse and showed no work since, or its process is paused or unhealthy: the last resort. */
  readonly stuck: boolean
}

/** The agent that a task is taken from. */
export type Failed = Pick<Candidate, 'agent' | 'role' | 'host'>

/** A task that should have another owner. */
export interface Need {
  readonly task: Task
  readonly reason: MoveReason
  /** Null where no session held it, or the agent of the session that did is unknown. */
  readonly failed: Failed | null
  /** When it came to need one, by the observer's clock: the tasks of the agent that failed first are moved first. */
  readonly since: number
}

export interface PlannedMove {
  readonly move: Move
  readonly need: Need
  readonly successor: string
}

export interface Plan {
  readonly moves: readonly PlannedMove[]
  /** Moved too often already: a person has to decide. */
  readonly exhausted: readonly Task[]
  /** No agent is there to take them. */
  readonly stranded: readonly Task[]
  /** How many failed agents have tasks that must wait for their turn. */
  readonly waiting: number
}

export interface MoveLimits {
  /** How often one task may be moved before a human is asked. */
  readonly movesMax: number
  /** The tasks of how many failed agents may be moved now. */
  readonly agentsNow: number
  /** Roles of agents that may yet be heard: work that has not begun waits for them. */
  readonly expectedRoles: ReadonlySet<string>
  /** Work for a role that no agent has waits as well when it was found after this moment: such an agent may join. */
  readonly waitsIfFoundAfter: number
}

/**
 * Which open tasks should have another owner. A lost agent loses its tasks only where `isSingleLoss` says that its loss is
 * its own: those whom a mass silence holds keep theirs. `tasks` must have been read before the conversations that the
 * roster knows of: a holder that the later reading does not name has no conversation any more.
 */
export function findNeeds(
  tasks: readonly Task[],
  roster: Pick<Roster, 'agentOf' | 'standing'>,
  leases: LeaseReader,
  isSingleLoss: (agent: string) => boolean,
  now: number,
): Need[] {
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
    if ((verdict === 'silent' || verdict === 'gone') && isSingleLoss(failed.agent)) {
      needs.push({ task, reason: verdict, failed, since: failed.since })
    } else if (lapsedAt !== null) needs.push({ task, reason: 'lease_lapsed', failed, since: lapsedAt })
  }
  return needs
}

/** Who could take tasks now. An agent with only ends `a` gives work and takes none. */
export function findCandidates(
  tasks: readonly Task[],
  roster: Pick<Roster, 'agentOf' | 'standings'>,
  leases: LeaseReader,
  processes: Pick<AgentProcessTable, 'isHindered'>,
): Candidate[] {
  const loads = new Map<string, number>()
  for (const { holder } of tasks) {
    const agent = holder === null ? undefined : roster.agentOf(holder)
    if (agent !== undefined) loads.set(agent, (loads.get(agent) ?? 0) + 1)
  }
  const candidates: Candidate[] = []
  for (const { agent, role, host, verdict, proven, taskSession } of roster.standings()) {
    if (verdict !== 'alive' || !proven || taskSession === null) continue
    const stuck = leases.isStuck(agent) || processes.isHindered(agent)
    candidates.push({ agent, role, host, session: taskSession, load: loads.get(agent) ?? 0, stuck })
  }
  return candidates
}

/** Roles of agents that cannot take work now and may yet be heard. */
export function expectedRoles(roster: Pick<Roster, 'standings'>): ReadonlySet<string> {
  const roles = new Set<string>()
  for (const { role, verdict, proven, taskSession } of roster.standings()) {
    if (taskSession !== null && (verdict === 'late' || (verdict === 'alive' && !proven))) roles.add(role)
  }
  return roles
}

/**
 * Who takes a task over: never the failed agent, not one on its host if any other is there, not a stuck one if any other
 * is there; of the wanted role, else of the failed agent's, else any; then the least loaded, then by name. Null: there is none.
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
    roleDistance(x, wanted, failed) - roleDistance(y, wanted, failed) ||
    x.load - y.load ||
    (x.agent < y.agent ? -1 : 1)
  )
}

function sharesHost({ host }: Candidate, failed: Failed | null): boolean {
  return host !== null && host === failed?.host
}

function roleDistance({ role }: Candidate, wanted: string | null, failed: Failed | null): number {
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

/** Whose turn it takes up: that of one failed agent, or of one session whose agent is unknown. Null: an unassigned task takes none. */
function turnOf({ task, failed }: Need): string | null {
  return failed?.agent ?? task.holder
}

/** Whether a task may wait for its role: never one that an agent worked at, or was about to, until it failed. */
function mayWait({ reason, since }: Need, role: string, { expectedRoles, waitsIfFoundAfter }: MoveLimits): boolean {
  if (reason === 'silent' || reason === 'gone' || reason === 'lease_lapsed') return false
  return expectedRoles.has(role) || since > waitsIfFoundAfter
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
