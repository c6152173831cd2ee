import { type ConditionState, isUnable } from './agent-condition.ts'
import type { AgentProcessTable } from './agent-processes.ts'
import type { ClientReader } from './client-observer.ts'
import type { Roster } from './failure-detector.ts'
import type { LeaseReader } from './lease-observer.ts'
import type { SessionId } from './session-id.ts'
import { ANY_ROLE, isHeldByClient, type Move, type MoveReason, PRIORITIES, type Task } from './task.ts'
import { lastEnded } from './task-attempts.ts'
import type { WorkReader } from './work-observer.ts'

/** An agent that could take a task over: alive, heard since the last grace, and with a session to hold it by. */
export interface Candidate {
  readonly agent: string
  readonly role: string
  readonly host: string | null
  readonly session: SessionId
  /** Open tasks that it holds. */
  readonly load: number
  /** It beats, but lets its tasks lie or its leases lapse, or its process is paused or unhealthy: the last resort. */
  readonly stuck: boolean
  /** Its client has ended, and no `s2 work` was seen there: who has one that runs is asked before it. */
  readonly isAway?: boolean
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
  /** Agents that lost it before by what they did with it: they get it only where no other can, and never for being free. */
  readonly lostBefore?: ReadonlySet<string>
}

export interface PlannedMove {
  readonly move: Move
  readonly need: Need
  readonly successor: string
}

export interface Plan {
  readonly moves: readonly PlannedMove[]
  /** No agent is there to take them. */
  readonly stranded: readonly Need[]
  /** How many failed agents have tasks that must wait for their turn. */
  readonly waiting: number
}

/** Roles that stand in for a role of which no agent can work, in the order in which they are asked. */
export type Fallback = ReadonlyMap<string, readonly string[]>

export interface MoveLimits {
  /** The tasks of how many failed agents may be moved now. */
  readonly agentsNow: number
  readonly fallback: Fallback
  /** Roles of agents that may yet be heard: work that has not begun waits for them before another role stands in. */
  readonly expectedRoles: ReadonlySet<string>
  /** Work for a role that no agent has waits as well when it was found after this moment: such an agent may join. */
  readonly waitsIfFoundAfter: number
}

/** Moves that help and need not be: where nobody can take the task it stays where it is, and is not stranded. */
const OPTIONAL: readonly MoveReason[] = ['not_taken', 'holder_busy', 'holder_sick', 'stalled', 'deadline']
/** Moves that take nothing from an agent that failed: none of them waits for a turn. */
const UNPACED: readonly MoveReason[] = ['unassigned', 'not_taken', 'holder_busy', 'holder_sick', 'deadline']

/** What may go to the agent that failed at it, as a new attempt: an agent that works alone would wait for ever at what hangs. */
const BEGUN_AGAIN: readonly MoveReason[] = ['unassigned', 'stalled']

/** Whether a move takes up the turn of a failed agent. */
export function takesTurn({ reason }: Pick<Need, 'reason'>): boolean {
  return !UNPACED.includes(reason)
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
      needs.push({
        task,
        reason: 'unassigned',
        failed: failedLast(task, roster),
        since: leases.stillSince(task) ?? now,
      })
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

/** So long after the end of a client the tasks may be read in which a lease is seen that it had renewed before, milliseconds. */
const SEEN_LATE_MS = 2_000

/**
 * Tasks that agents took by clients that have ended, and what such an agent had not begun besides. The end was seen by the host
 * itself, and nothing has come from whoever holds the task since: a lease that is renewed all the same is held by another process.
 */
export function findOrphans(
  tasks: readonly Task[],
  roster: Pick<Roster, 'agentOf' | 'standing'>,
  leases: LeaseReader,
  clients: Pick<ClientReader, 'of'>,
): Need[] {
  const needs = tasks.flatMap((task): Need[] => {
    const failed = task.holder === null ? undefined : roster.standing(roster.agentOf(task.holder) ?? '')
    const client = failed === undefined ? null : clients.of(failed.agent)
    if (failed === undefined || client?.activity.state !== 'gone') return []
    return [{ task, reason: 'gone', failed, since: client.since }]
  })
  const isOrphan = ({ task, since }: Need): boolean =>
    isHeldByClient(task) && (leases.stillSince(task) ?? since) <= since + SEEN_LATE_MS
  const agents = new Set(needs.filter(isOrphan).map(({ failed }) => failed?.agent))
  return needs.filter((need) => isOrphan(need) || (need.task.state === 'assigned' && agents.has(need.failed?.agent)))
}

/** Whoever failed within seconds at a task that nobody has now: another is to try it. */
function failedLast(task: Task, roster: Pick<Roster, 'agentOf' | 'standing'>): Failed | null {
  const last = lastEnded(task)
  if (last?.end !== 'quick_failure') return null
  return roster.standing(roster.agentOf(last.holder) ?? '') ?? null
}

/** What the candidates are found by, besides the tasks. */
export interface CandidateView {
  readonly roster: Pick<Roster, 'agentOf' | 'standings'>
  readonly leases: LeaseReader
  readonly work: WorkReader
  readonly processes: Pick<AgentProcessTable, 'isHindered'>
  readonly clients: Pick<ClientReader, 'of' | 'isKnown'>
  /** Of agents that are not well. */
  readonly conditions: ReadonlyMap<string, { readonly state: ConditionState }>
}

/**
 * Who could take tasks now. An agent with only ends `a` gives work and takes none; one whose place cannot work, or whose client
 * waits for a person, or is not known yet, gets none, and one that tries whether it can again gets one.
 */
export function findCandidates(
  tasks: readonly Task[],
  { roster, leases, work, processes, clients, conditions }: CandidateView,
): Candidate[] {
  const loads = new Map<string, number>()
  for (const { holder } of tasks) {
    const agent = holder === null ? undefined : roster.agentOf(holder)
    if (agent !== undefined) loads.set(agent, (loads.get(agent) ?? 0) + 1)
  }
  const candidates: Candidate[] = []
  for (const { agent, role, host, verdict, proven, taskSession } of roster.standings()) {
    if (verdict !== 'alive' || !proven || taskSession === null) continue
    const [load, condition] = [loads.get(agent) ?? 0, conditions.get(agent)?.state]
    if (isUnable(condition) || (condition === 'probing' && load > 0)) continue
    const client = clients.of(agent)?.activity.state
    if (client === 'waiting' || !clients.isKnown(agent)) continue
    const stuck = leases.isStuck(agent) || work.isIdle(agent) || processes.isHindered(agent)
    candidates.push({
      agent,
      role,
      host,
      session: taskSession,
      load,
      stuck,
      isAway: client === 'gone' && !work.isWorker(agent),
    })
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
 * Who takes a task over: an agent of its role, else of another role that it names, else of one that the fleet lets stand in;
 * for a task of no role one of the failed agent's role, else any. The failed agent only if no other is there, and only for what
 * nobody had or what showed no work; a stuck one only if no other is there, one whose client has ended only after those who have one, and then one that lost the task before. Then one on
 * another host than the failed one's, then the least loaded, then by name. Null: there is none.
 */
export function chooseSuccessor(need: Need, candidates: Iterable<Candidate>, fallback: Fallback): Candidate | null {
  let best: Candidate | null = null
  for (const candidate of candidates) {
    if (!mayTake(candidate, need, fallback)) continue
    if (best === null || compare(candidate, best, need, fallback) < 0) best = candidate
  }
  return best
}

function mayTake({ agent, stuck, isAway = false, load, role }: Candidate, need: Need, fallback: Fallback): boolean {
  const { task, reason, failed, lostBefore } = need
  if (rankOf(role, need, fallback) === null) return false
  if (!BEGUN_AGAIN.includes(reason) && agent === failed?.agent) return false
  if (OPTIONAL.includes(reason) && stuck) return false
  if (reason !== 'holder_busy') return true
  return load === 0 && !isAway && lostBefore?.has(agent) !== true && (task.role === null || role === task.role)
}

/** Below zero when `x` is the better successor. */
function compare(x: Candidate, y: Candidate, need: Need, fallback: Fallback): number {
  const { failed, lostBefore } = need
  return (
    Number(x.stuck) - Number(y.stuck) ||
    Number(x.isAway ?? false) - Number(y.isAway ?? false) ||
    Number(x.agent === failed?.agent) - Number(y.agent === failed?.agent) ||
    Number(lostBefore?.has(x.agent) ?? false) - Number(lostBefore?.has(y.agent) ?? false) ||
    (rankOf(x.role, need, fallback) ?? 0) - (rankOf(y.role, need, fallback) ?? 0) ||
    Number(sharesHost(x, failed)) - Number(sharesHost(y, failed)) ||
    x.load - y.load ||
    (x.agent < y.agent ? -1 : 1)
  )
}

function sharesHost({ host }: Candidate, failed: Failed | null): boolean {
  return host !== null && host === failed?.host
}

/** How far a role is from the wanted one; null where it may not do the task. From STANDS_IN on it only stands in. */
function rankOf(role: string, { task, failed }: Need, fallback: Fallback): number | null {
  if (task.role === null) return role === failed?.role ? 0 : 1
  if (role === task.role) return 0
  if (task.otherRoles.includes(role)) return 1
  const stand = [task.role, ...task.otherRoles].flatMap((each) => fallback.get(each) ?? [])
  const at = stand.findIndex((each) => each === role || each === ANY_ROLE)
  return at === -1 ? null : STANDS_IN + at
}

const STANDS_IN = 2

/** What to move now, the most urgent first; the rest of the needs come again with the next look. */
export function planMoves(needs: readonly Need[], candidates: readonly Candidate[], limits: MoveLimits): Plan {
  const free = new Map(candidates.map((candidate) => [candidate.agent, candidate]))
  const moves: PlannedMove[] = []
  const stranded: Need[] = []
  const served = new Set<string>()
  const waiting = new Set<string>()
  const planned = new Set<string>()
  for (const need of inOrder(needs)) {
    const { task, reason } = need
    if (planned.has(task.id)) continue // it needs another owner for two reasons
    const successor = chooseSuccessor(need, free.values(), limits.fallback)
    if (successor === null) {
      if (!OPTIONAL.includes(reason)) stranded.push(need)
      continue
    }
    const standsIn = (rankOf(successor.role, need, limits.fallback) ?? 0) >= STANDS_IN
    if (standsIn && mayWait(need, limits)) continue
    const turn = turnOf(need)
    if (turn !== null && !served.has(turn) && served.size >= limits.agentsNow) {
      waiting.add(turn)
      continue
    }
    if (turn !== null) served.add(turn)
    planned.add(task.id)
    free.set(successor.agent, { ...successor, load: successor.load + 1 })
    moves.push({
      move: { task: task.id, epoch: task.epoch, to: successor.session, reason },
      need,
      successor: successor.agent,
    })
  }
  return { moves, stranded, waiting: waiting.size }
}

/** Whose turn it takes up: that of one failed agent, or of one session whose agent is unknown. */
function turnOf(need: Need): string | null {
  return takesTurn(need) ? (need.failed?.agent ?? need.task.holder) : null
}

/** Moves that wait for no role: an agent worked at the task, or was about to, until it failed, or until there was no time left. */
const AT_ONCE: readonly MoveReason[] = ['silent', 'gone', 'lease_lapsed', 'deadline']

/** Whether a task may wait for its role. */
function mayWait({ task, reason, since }: Need, { expectedRoles, waitsIfFoundAfter }: MoveLimits): boolean {
  if (AT_ONCE.includes(reason) || task.role === null) return false
  return [task.role, ...task.otherRoles].some((role) => expectedRoles.has(role)) || since > waitsIfFoundAfter
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
