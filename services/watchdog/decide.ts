import type { NewIncident } from '#fleet/incident.ts'
import type { Task } from '#fleet/task.ts'
import {
  expectedRoles,
  findCandidates,
  findNeeds,
  type Plan,
  type PlannedMove,
  planMoves,
} from '#fleet/task-reassignment.ts'
import type { WatchConfig } from './config.ts'
import type { Observed } from './fleet-observation.ts'
import {
  blindIncident,
  exhaustedIncident,
  lossIncident,
  massSilenceIncident,
  strandedIncident,
  supervisorIncident,
  supervisorOf,
  twinsIncident,
} from './incident-texts.ts'
import type { Board, BoardMemory } from './open-tasks-state.ts'
import type { AgentLoss } from './reported-losses.ts'

/**
 * What a look decides by: a view of what its owners know at this moment, through which nothing can be changed. Nothing is
 * copied, so a large fleet costs no more than a small one. What is to be remembered is part of the decision.
 */
export interface Snapshot {
  /** When the look began, by the watchdog's clock that never jumps. */
  readonly at: number
  readonly config: Pick<WatchConfig, 'lateAfterMs' | 'silentAfterMs' | 'leaseMs' | 'moveEveryMs' | 'movesMax'>
  readonly observed: Observed
  readonly board: Board
  /** The tasks were read in this look: moves are decided on no others. */
  readonly areTasksFresh: boolean
  /** What incidents tell of lost agents, by agent. */
  readonly losses: ReadonlyMap<string, AgentLoss>
  /** Open incidents by their cause. */
  readonly openIncidents: ReadonlyMap<string, NewIncident>
}

/** As much of it as tells which losses are single ones. */
type LossSnapshot = Pick<Snapshot, 'at' | 'observed'> & { readonly board: Pick<Board, 'holders'> }

/** What a look found to be done, and to be remembered. */
export interface Decision {
  readonly moves: readonly PlannedMove[]
  readonly open: readonly NewIncident[]
  /** By their causes. */
  readonly close: readonly string[]
  /** Agents whose loss was now found to be a single one. */
  readonly singleLosses: readonly string[]
  /** Null where nothing was planned: what is remembered stays. */
  readonly board: BoardMemory | null
}

/** An incident that one condition opens and another closes; between the two it stays as it is. */
interface Toggle {
  readonly incident: NewIncident
  readonly isWanted: boolean
  readonly isOver: boolean
}

/** How long after a death an agent keeps its tasks: agents that die together are judged together, and one that is back by then loses nothing. */
const GATHER_MS = 400

/** Decides what to do about what was observed, without doing any of it. Pure: the same snapshot gives the same decision. */
export function decide(snapshot: Snapshot): Decision {
  const { observed, openIncidents } = snapshot
  const singleLosses = findSingleLosses(snapshot)
  const mayPlan = snapshot.areTasksFresh && !observed.isBlind
  const plan = mayPlan && !observed.fleet.massSilence ? planTasks(snapshot, new Set(singleLosses)) : null
  const board = mayPlan ? remember(plan, snapshot) : null
  const exhausted = plan?.exhausted.map(exhaustedIncident) ?? null
  const toggles = [
    blindness(snapshot),
    massSilence(snapshot),
    ...unreachableSupervisors(snapshot),
    ...(plan === null ? [] : [stranding(plan, board?.strandedSince ?? null, snapshot)]),
  ]
  const twins = observed.fleet.twins(snapshot.at).map(twinsIncident)
  const wanted = [...toggles.flatMap((each) => (each.isWanted ? [each.incident] : [])), ...(exhausted ?? []), ...twins]
  const over = toggles.flatMap((each) => (!each.isWanted && each.isOver ? [each.incident] : []))
  const open = [...openIncidents.values()]
  return {
    moves: plan?.moves ?? [],
    open: [...wanted.filter(({ cause }) => !openIncidents.has(cause)), ...lossIncidents(singleLosses, snapshot)],
    close: [
      ...over.filter(({ cause }) => openIncidents.has(cause)),
      ...open.filter((each) => hasEnded(each, snapshot) || isNoLongerExhausted(each, exhausted)),
    ].map(({ cause }) => cause),
    singleLosses,
    board,
  }
}

/** Lost agents that are single failures: not part of a mass silence, nor of the time that its agents have to come back in. */
export function findSingleLosses({ at, observed, board }: LossSnapshot): readonly string[] {
  const { fleet, isBlind, readAt, massReturnUntil } = observed
  if (isBlind || fleet.massSilence || (readAt?.now ?? 0) < massReturnUntil) return []
  return [...observed.lost].filter((agent) => {
    return !fleet.hasIncident(agent) && gatheredAt(agent, observed) <= at && concernsPeople(agent, observed, board)
  })
}

/** When the next lost agent after `at` becomes a single loss though nothing more happens; Infinity when none will. */
export function nextSingleLoss(at: number, observed: Observed): number {
  let next = Number.POSITIVE_INFINITY
  for (const agent of observed.lost) {
    const end = gatheredAt(agent, observed)
    if (end > at && end < next) next = end
  }
  return next
}

function gatheredAt(agent: string, { fleet }: Observed): number {
  const standing = fleet.standing(agent)
  return standing?.verdict === 'gone' ? standing.since + GATHER_MS : Number.NEGATIVE_INFINITY
}

/** That an agent that was never heard is not heard is no news, unless it holds tasks. */
function concernsPeople(agent: string, { fleet }: Observed, { holders }: LossSnapshot['board']): boolean {
  return fleet.standing(agent)?.isNew !== true || holders.has(agent)
}

/** What to move now. */
function planTasks({ at, config, observed, board }: Snapshot, singleLosses: ReadonlySet<string>): Plan {
  const { fleet, processes } = observed
  const isSingleLoss = (agent: string): boolean => fleet.hasIncident(agent) || singleLosses.has(agent)
  const needs = findNeeds(board.tasks, fleet, board.leases, isSingleLoss, at).filter(({ reason, task }) => {
    return reason !== 'silent' || wereBeatsReadSince(task, board, observed)
  })
  const isIdle = needs.length === 0 // going through a large fleet takes longer than a verdict may wait
  return planMoves(needs, isIdle ? [] : findCandidates(board.tasks, fleet, board.leases, processes), {
    movesMax: config.movesMax,
    agentsNow: config.moveEveryMs === 0 ? Number.POSITIVE_INFINITY : board.turnAt <= at ? 1 : 0,
    expectedRoles: isIdle ? new Set() : expectedRoles(fleet),
    waitsIfFoundAfter: at - config.leaseMs,
  })
}

/** Whether beats were read since the task came to its holder: another watchdog may have given it to an agent that is just back. */
function wereBeatsReadSince(task: Task, { leases }: Board, { readAt }: Observed): boolean {
  return readAt !== null && (leases.stillSince(task) ?? Number.POSITIVE_INFINITY) <= readAt.now
}

/** In a mass silence nothing is planned: no task is moved, and nothing is known of what should be. */
function remember(plan: Plan | null, { at, board }: Snapshot): BoardMemory {
  if (plan === null) return { waiting: 0, strandedSince: board.strandedSince, movedFrom: [] }
  return {
    waiting: plan.waiting,
    strandedSince: plan.stranded.length === 0 ? null : (board.strandedSince ?? at),
    movedFrom: plan.moves.flatMap(({ need }) => (need.failed === null ? [] : [need.failed.agent])),
  }
}

/** Of the single losses that were found now, and of those whose incident could not be opened before. */
function lossIncidents(singleLosses: readonly string[], { config, observed, losses }: Snapshot): NewIncident[] {
  const due = [...observed.lost].filter(
    (agent) => losses.get(agent)?.isDue === true && observed.fleet.hasIncident(agent),
  )
  return [...due, ...singleLosses].map((agent) => lossIncident(agent, observed, config.silentAfterMs))
}

/** Whether what an incident of one agent tells of is over. */
function hasEnded({ kind, agent }: NewIncident, { at, observed, losses }: Snapshot): boolean {
  switch (kind) {
    case 'silent':
    case 'restarts_exhausted':
      return isBack(agent, observed)
    case 'restart_failed':
      return isBack(agent, observed) || doesProcessLive(agent, observed)
    case 'gone':
      return isDeathOver(agent, observed, losses)
    case 'twins':
      return !observed.fleet.twins(at).some((each) => each.agent === agent)
    default:
      return false
  }
}

/** A task that was moved too often, and needs no move any more. Null: it is not known which were. */
function isNoLongerExhausted({ cause, kind }: NewIncident, exhausted: readonly NewIncident[] | null): boolean {
  return kind === 'task_exhausted' && exhausted !== null && !exhausted.some((each) => each.cause === cause)
}

/** A lost agent's incident is over when the agent is heard again, or has no conversation any more. */
function isBack(agent: string | null, { fleet }: Observed): boolean {
  const standing = agent === null ? undefined : fleet.standing(agent)
  return standing === undefined || (standing.verdict === 'alive' && standing.proven)
}

/** Of a death it is not enough that a daemon beats: what the agent ran in lives, or it showed a sign of life since. */
function isDeathOver(agent: string | null, observed: Observed, losses: Snapshot['losses']): boolean {
  if (!isBack(agent, observed)) return false
  const standing = agent === null ? undefined : observed.fleet.standing(agent)
  if (agent === null || standing === undefined) return true
  return doesProcessLive(agent, observed) || standing.signs !== losses.get(agent)?.signsAtDeath
}

function doesProcessLive(agent: string | null, { processes }: Observed): boolean {
  const state = agent === null ? undefined : processes.of(agent)?.state
  return state === 'living' || state === 'hindered'
}

function blindness({ config, observed }: Snapshot): Toggle {
  const { isBlind, isCollectionSeen } = observed
  return { incident: blindIncident(config.lateAfterMs), isWanted: isBlind, isOver: isCollectionSeen }
}

/** A watchdog that does not know enough leaves it to another one, or to a later look. */
function massSilence({ at, observed }: Snapshot): Toggle {
  const { tally, massSilence } = observed.fleet
  const knows = observed.knowsAll(at)
  return {
    incident: massSilenceIncident(tally.unheard, tally.count),
    isWanted: knows && observed.isMassSilence,
    isOver: knows && !massSilence,
  }
}

/** Of every supervisor that does not answer, or of which an incident says so. */
function unreachableSupervisors({ at, config, observed, openIncidents }: Snapshot): Toggle[] {
  const reported = [...openIncidents.values()].filter(({ kind }) => kind === 'supervisor_away').map(supervisorOf)
  return [...new Set([...reported, ...observed.unreachable.keys()])].map((supervisor) => {
    const since = observed.unreachable.get(supervisor)
    return {
      incident: supervisorIncident(supervisor),
      isWanted: since !== undefined && at - since >= config.lateAfterMs,
      isOver: since === undefined,
    }
  })
}

function stranding({ stranded }: Plan, since: number | null, { at, config }: Snapshot): Toggle {
  return {
    incident: strandedIncident(stranded),
    isWanted: since !== null && at - since >= config.lateAfterMs,
    isOver: since === null,
  }
}
