import type { NewIncident } from '#fleet/incident.ts'
import type { Task, TaskEnding } from '#fleet/task.ts'
import type { PlannedMove } from '#fleet/task-reassignment.ts'
import { formatDuration, roughDuration } from '#runtime/duration.ts'
import { waitingIncidents } from './client-incidents.ts'
import { decideTasks, isWorkedAt, type TaskDecision } from './decide-tasks.ts'
import { type ByEvidence, evidenceOf, evidenceToOpen } from './evidence-age.ts'
import { FLAPS } from './flapping-agents.ts'
import type { Observed } from './fleet-observation.ts'
import { endOfAgentIncident, isBack, lastedMs } from './incident-endings.ts'
import {
  blindIncident,
  flappingCause,
  flappingIncident,
  gracesIncident,
  lossIncident,
  massSilenceIncident,
  massSilenceOutcome,
  supervisorIncident,
  supervisorOf,
  twinsIncident,
} from './incident-texts.ts'
import type { Snapshot } from './look-snapshot.ts'
import type { IncidentEnd, OpenIncident } from './open-incidents.ts'
import type { Board, BoardMemory } from './open-tasks-state.ts'
import type { RepeatedGraces } from './recent-graces.ts'
import { endOfTaskIncident } from './task-incident-endings.ts'
import { strandedCause, strandedOutcome } from './task-incidents.ts'
import type { AgentWork } from './work-verdicts.ts'

/** As much of it as tells which losses are single ones. */
type LossSnapshot = Pick<Snapshot, 'at' | 'observed'> & { readonly board: Pick<Board, 'holders'> }

/** What a look found to be done, and to be remembered. */
export interface Decision {
  readonly moves: readonly PlannedMove[]
  readonly endings: readonly TaskEnding[]
  /** Tasks whose holders are to be woken again. */
  readonly reminders: readonly Task[]
  readonly open: readonly ByEvidence<NewIncident>[]
  readonly close: readonly ByEvidence<IncidentEnd>[]
  /** Agents whose loss was now found to be a single one. */
  readonly singleLosses: readonly string[]
  /** Agents that were single losses, and are back. */
  readonly returns: readonly string[]
  /** Null where nothing was planned: what is remembered stays. */
  readonly board: BoardMemory | null
  /** What is found of the work of agents; null where nobody looked. */
  readonly work: ReadonlyMap<string, AgentWork> | null
}

/** An incident that one condition opens and another closes; between the two it stays as it is. */
interface Toggle {
  readonly incident: NewIncident
  readonly isWanted: boolean
  readonly isOver: boolean
  /** What is said of its end. */
  readonly outcome: string
}

/** How long after a death an agent keeps its tasks: agents that die together are judged together, and one that is back by then loses nothing. */
const GATHER_MS = 400

/** Decides what to do about what was observed, without doing any of it. Pure: the same snapshot gives the same decision. */
export function decide(snapshot: Snapshot): Decision {
  const { observed, openIncidents } = snapshot
  const singleLosses = findSingleLosses(snapshot)
  const mayPlan = snapshot.areTasksFresh && !observed.isBlind
  const tasks = mayPlan && !observed.fleet.massSilence ? decideTasks(snapshot, new Set(singleLosses)) : null
  const board = mayPlan ? remember(tasks, snapshot) : null
  const toggles = [
    blindness(snapshot),
    massSilence(snapshot),
    ...repeatedGraces(snapshot),
    ...unreachableSupervisors(snapshot),
  ]
  const twins = observed.fleet.twins(snapshot.at).map(twinsIncident)
  const dialogs = waitingIncidents(observed)
  const wanted = [
    ...toggles.flatMap((each) => (each.isWanted ? [each.incident] : [])),
    ...(tasks?.incidents ?? []),
    ...twins,
    ...dialogs,
  ]
  const over = toggles.filter(({ isWanted, isOver }) => !isWanted && isOver)
  const endings = endingsOf(snapshot)
  const returns = findReturns(endings, snapshot)
  const ended = over.filter(({ incident: { cause } }) => openIncidents.has(cause)).map(endingOf)
  const opening = [
    ...[...wanted, ...flapping(returns, snapshot)].filter(({ cause }) => !openIncidents.has(cause)),
    ...lossIncidents(singleLosses, snapshot),
  ]
  const closing = [...ended, ...endings, ...strandedEndings(tasks, snapshot)]
  return {
    moves: tasks?.moves ?? [],
    endings: tasks?.endings ?? [],
    reminders: tasks?.reminders ?? [],
    open: opening.map((incident) => ({ ...incident, evidenceAt: evidenceToOpen(incident, snapshot) })),
    close: closing.map((end) => ({ ...end, evidenceAt: evidenceOf(snapshot) })),
    singleLosses,
    returns,
    board,
    work: tasks?.work ?? null,
  }
}

/** Lost agents that are single failures: not part of a mass silence, nor of the time that its agents have to come back in. */
export function findSingleLosses({ at, observed, board }: LossSnapshot): readonly string[] {
  const { fleet, isBlind, readAt, isMassSilence, massReturnUntil } = observed
  if (isBlind || fleet.massSilence || isMassSilence || (readAt?.now ?? 0) < massReturnUntil) return []
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

/** In a mass silence nothing is planned: no task is moved, and nothing is known of what should be. */
function remember(tasks: TaskDecision | null, { at, board }: Snapshot): BoardMemory {
  const { strandedSince, stalledTogetherAt } = board
  if (tasks === null) return { waiting: 0, strandedSince, stalledTogetherAt, beatsWantedSince: null, movedFrom: [] }
  return {
    waiting: tasks.waiting,
    strandedSince: tasks.stranded.length === 0 ? null : (strandedSince ?? at),
    stalledTogetherAt: tasks.stallTogether ? at : stalledTogetherAt,
    beatsWantedSince: tasks.waitsForBeats ? at : null,
    movedFrom: tasks.moves.flatMap(({ need }) => (need.failed === null ? [] : [need.failed.agent])),
  }
}

/** Agents whose loss is over, and that no incident calls lost any more. */
function findReturns(endings: readonly IncidentEnd[], snapshot: Snapshot): string[] {
  const { lossHistory, openIncidents } = snapshot
  const ending = new Set(endings.map(({ cause }) => cause))
  return lossHistory.lostNow().filter((agent) => {
    const causes = [`silent:${agent}`, `gone:${agent}`]
    return isBack(agent, snapshot) && causes.every((cause) => !openIncidents.has(cause) || ending.has(cause))
  })
}

/** Of agents that are back, and were lost too often within an hour. */
function flapping(returns: readonly string[], { at, observed, lossHistory }: Snapshot): NewIncident[] {
  return returns.flatMap((agent) => {
    const recent = lossHistory.recent(agent, at)
    return recent.losses < FLAPS ? [] : [flappingIncident(agent, observed.fleet.standing(agent)?.host, recent)]
  })
}

/**
 * Of the single losses that were found now, and of those whose incident could not be opened before. Those of an agent that
 * flaps have one incident together.
 */
function lossIncidents(singleLosses: readonly string[], snapshot: Snapshot): NewIncident[] {
  const { config, observed, losses, board, openIncidents } = snapshot
  const due = [...observed.lost].filter(
    (agent) => losses.get(agent)?.isDue === true && observed.fleet.hasIncident(agent),
  )
  const told = [...due, ...singleLosses].filter((agent) => !openIncidents.has(flappingCause(agent)))
  if (told.length === 0) return []
  const tasks = Map.groupBy(board.tasks, ({ holder }) => (holder === null ? undefined : observed.fleet.agentOf(holder)))
  return told.map((agent) => {
    const held = Map.groupBy(tasks.get(agent) ?? [], (task) => (isWorkedAt(task, snapshot) ? 'kept' : 'lost'))
    const { kept = [], lost = [] } = Object.fromEntries(held)
    return lossIncident(agent, observed, config.silentAfterMs, { kept, lost })
  })
}

function endingOf({ incident, outcome }: Toggle): IncidentEnd {
  return { cause: incident.cause, outcome }
}

function endingsOf(snapshot: Snapshot): IncidentEnd[] {
  return [...snapshot.openIncidents.values()].flatMap((incident) => {
    const outcome = endOfAgentIncident(incident, snapshot) ?? endOfTaskIncident(incident, snapshot)
    return outcome === null ? [] : [{ cause: incident.cause, outcome }]
  })
}

/** Without a decision, or beats for all of it, or a full silence since a grace, it is not known now which tasks no agent can take. */
function strandedEndings(tasks: TaskDecision | null, snapshot: Snapshot): IncidentEnd[] {
  const { at, openIncidents, observed } = snapshot
  if (tasks === null || tasks.waitsForBeats || !observed.hasSeenSilence(at)) return []
  const lasting = new Set(tasks.incidents.map(({ cause }) => cause))
  const over = [...openIncidents.values()].filter(({ kind, cause }) => kind === 'task_stranded' && !lasting.has(cause))
  return over
    .filter((incident) => !hasTaskLying(incident, snapshot))
    .map((incident) => ({ cause: incident.cause, outcome: strandedOutcome(incident) }))
}

/** A task lies as it did when people were told, with an agent that does nothing: that it is stuck another watchdog may have seen. */
function hasTaskLying({ cause, seenAt }: OpenIncident, { board, observed }: Snapshot): boolean {
  return board.tasks.some((task) => {
    const agent = task.state === 'assigned' && task.holder !== null ? observed.fleet.agentOf(task.holder) : undefined
    const isOfIncident = agent !== undefined && !board.work.isBusy(agent) && strandedCause(task.role) === cause
    return isOfIncident && (board.leases.heldSince(task) ?? seenAt) < seenAt
  })
}

/** How long the incident of this cause has been open, for people. */
function lasted(cause: string, { openIncidents, wall }: Snapshot): string {
  const incident = openIncidents.get(cause)
  return roughDuration(incident === undefined ? 0 : lastedMs(incident, wall))
}

/** Of two watchdogs one finds out first that beats are not collected: what the other had seen before ends nothing. */
function blindness(snapshot: Snapshot): Toggle {
  const { isBlind, collectionSeenAt } = snapshot.observed
  const incident = blindIncident(snapshot.config.lateAfterMs)
  const toldAt = snapshot.openIncidents.get(incident.cause)?.seenAt ?? 0
  const outcome = `the bridge collects beats again after ${lasted(incident.cause, snapshot)}`
  return { incident, isWanted: isBlind, isOver: collectionSeenAt > toldAt, outcome }
}

/** Graces that follow each other so closely that no verdict can be passed. */
function repeatedGraces({ at, config, observed }: Snapshot): Toggle[] {
  const repeated = observed.repeatedGraces(at)
  const isOver = observed.hasSeenSilence(at)
  if (repeated === null && !isOver) return []
  const silence = formatDuration(config.silentAfterMs)
  const outcome = `the watchdog judges again: it saw a full silence (${silence}) without a gap`
  return [{ incident: gracesIncident(repeated ?? NO_GRACES), isWanted: repeated !== null, isOver, outcome }]
}

const NO_GRACES: RepeatedGraces = { windowMs: 0, byReason: new Map() }

/**
 * A watchdog that does not know enough leaves it to another one, or to a later look. The last of those who were lost together
 * have a full silence to come back too, before it is over for all.
 */
function massSilence({ at, observed, openIncidents, wall }: Snapshot): Toggle {
  const { fleet, isMassSilence, massReturnUntil, readAt } = observed
  const knows = observed.knowsAll(at)
  const incident = massSilenceIncident(fleet.tally.unheard, fleet.tally.count)
  const known = openIncidents.get(incident.cause)
  const isWanted = knows && isMassSilence
  if (known === undefined || !knows || isMassSilence || fleet.massSilence)
    return { incident, isWanted, isOver: false, outcome: '' }
  const fate = observed.massFate()
  return {
    incident,
    isWanted,
    isOver: fate.missing.length === 0 || (readAt?.now ?? 0) >= massReturnUntil,
    outcome: massSilenceOutcome(fate, lastedMs(known, wall)),
  }
}

/**
 * Of every supervisor that does not answer, or of which an incident says so. Those that this watchdog does not ask, or has
 * not asked yet, are for others.
 */
function unreachableSupervisors(snapshot: Snapshot): Toggle[] {
  const { at, config, observed, openIncidents } = snapshot
  const reported = [...openIncidents.values()].filter(({ kind }) => kind === 'supervisor_away').map(supervisorOf)
  return [...new Set([...reported, ...observed.unreachable.keys()])].map((supervisor) => {
    const since = observed.unreachable.get(supervisor)
    const incident = supervisorIncident(supervisor)
    return {
      incident,
      isWanted: since !== undefined && at - since >= config.lateAfterMs,
      isOver: observed.answering.has(supervisor),
      outcome: `${supervisor} answers again after ${lasted(incident.cause, snapshot)}`,
    }
  })
}
