import { isUnable } from '#fleet/agent-condition.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { EndReason, Task, TaskEnding } from '#fleet/task.ts'
import { attemptsInWords, isPaused, lastEnded, lastNotNow, withEnd } from '#fleet/task-attempts.ts'
import { type ClockFindings, type ClockView, readTaskClocks } from '#fleet/task-clocks.ts'
import {
  expectedRoles,
  findCandidates,
  findNeeds,
  findOrphans,
  type Need,
  type Plan,
  type PlannedMove,
  planMoves,
} from '#fleet/task-reassignment.ts'
import { clientGoneCause, clientGoneIncident } from './client-incidents.ts'
import type { Observed } from './fleet-observation.ts'
import type { Snapshot } from './look-snapshot.ts'
import type { Board } from './open-tasks-state.ts'
import { isLoss } from './reported-losses.ts'
import {
  conditionIncident,
  endingInWords,
  notNowIncident,
  STALLED_TOGETHER,
  stalledTask,
  stallIncident,
  stallsTogetherIncident,
  strandedCause,
  strandedIncident,
  tryInWords,
  unbegunInWords,
  untakenIncident,
} from './task-incidents.ts'
import type { AgentWork } from './work-verdicts.ts'

/** What is to be done about tasks. */
export interface TaskDecision {
  readonly moves: readonly PlannedMove[]
  readonly endings: readonly TaskEnding[]
  readonly reminders: readonly Task[]
  /** The incidents about tasks that should be open now: of stranded tasks no others should. */
  readonly incidents: readonly NewIncident[]
  /** What is found of the work of agents, to be shown in place of `alive`. */
  readonly work: ReadonlyMap<string, AgentWork>
  /** Most agents that work stall together, or people are told so still. */
  readonly stallTogether: boolean
  /** Tasks that no agent can take. */
  readonly stranded: readonly Need[]
  /** How many failed agents have tasks that must wait for their turn. */
  readonly waiting: number
  /** Beats have to be read before all of it can be decided. */
  readonly waitsForBeats: boolean
}

/** `singleLosses`: lost agents whose loss was found to be a single one just now. */
export function decideTasks(snapshot: Snapshot, singleLosses: ReadonlySet<string>): TaskDecision {
  const { board, observed } = snapshot
  const findings = readTaskClocks(board.tasks, clockView(snapshot))
  const ending = new Set(findings.ends.map(({ task }) => task))
  const lost = lossNeeds(snapshot, singleLosses).filter(({ task }) => !ending.has(task))
  const losses = lost.filter(({ reason, task }) => reason !== 'silent' || wereBeatsReadSince(task, board, observed))
  const plan = planAll([...losses, ...findings.needs.filter(({ task }) => !ending.has(task))], snapshot)
  const failed = unmovedAtDeadline(findings, plan)
  return {
    moves: plan.moves,
    endings: [...findings.ends, ...failed].map(({ task, reason }) => taskEnding(task, reason, snapshot)),
    reminders: findings.reminders,
    incidents: [
      ...strandedIncidents(plan, snapshot),
      ...notNowIncidents(snapshot),
      ...stallIncidents(findings, snapshot),
      ...untakenIncidents(findings, plan, snapshot),
      ...conditionIncidents(snapshot),
      ...orphanIncidents(snapshot),
    ],
    work: new Map([
      ...toldAgents(snapshot),
      ...stalledAgents(findings),
      ...clientsAsWork(snapshot),
      ...conditionsAsWork(snapshot),
    ]),
    stallTogether: findings.stallsTogether || snapshot.openIncidents.has(STALLED_TOGETHER),
    stranded: plan.stranded,
    waiting: plan.waiting,
    waitsForBeats: losses.length < lost.length,
  }
}

function clockView({ at, wall, config, observed, board }: Snapshot): ClockView {
  const { takeWithinMs, stallAfterMs, onStall, attemptsMax } = config
  const { work, conditions } = board
  return { takeWithinMs, stallAfterMs, onStall, attemptsMax, roster: observed.fleet, work, conditions, at, wall }
}

/** Tasks whose agent was lost, whose lease lapsed, or that nobody has. */
function lossNeeds(snapshot: Snapshot, singleLosses: ReadonlySet<string>): Need[] {
  const { at, wall, observed, board } = snapshot
  const { fleet } = observed
  const isSingleLoss = (agent: string): boolean => fleet.hasIncident(agent) || singleLosses.has(agent)
  const orphans = findOrphans(board.tasks, fleet, board.leases, observed.clients)
  const needs = [...findNeeds(board.tasks, fleet, board.leases, isSingleLoss, at), ...orphans]
  return needs.filter(({ task }) => !isWorkedAt(task, snapshot) && !isResting(task, wall))
}

/** Its command said "not now": an agent that tries whether it can work again and got it would wait for it, and get nothing else. */
function isResting(task: Task, wall: number): boolean {
  return task.holder === null && lastEnded(task)?.end === 'not_now' && isPaused(task, wall)
}

/** Whether its agent works at it all the same, where the daemon beside it is silent: the lease is renewed, and work is shown. */
export function isWorkedAt(task: Task, { at, config, observed, board }: Snapshot): boolean {
  const holder = task.holder === null ? undefined : observed.fleet.standing(observed.fleet.agentOf(task.holder) ?? '')
  if (holder?.verdict !== 'silent' || !board.leases.isRenewedAfter(task, holder.heardAt)) return false
  return at - (board.work.workedAt(task) ?? Number.NEGATIVE_INFINITY) < config.stallAfterMs
}

function planAll(needs: readonly Need[], { at, config, observed, board }: Snapshot): Plan {
  const { fleet, processes, clients } = observed
  const { leases, work, conditions } = board
  const isIdle = needs.length === 0 // going through a large fleet takes longer than a verdict may wait
  const view = { roster: fleet, leases, work, processes, clients, conditions }
  return planMoves(needs, isIdle ? [] : findCandidates(board.tasks, view), {
    agentsNow: config.moveEveryMs === 0 ? Number.POSITIVE_INFINITY : board.turnAt <= at ? 1 : 0,
    fallback: config.fallback,
    expectedRoles: isIdle ? new Set() : expectedRoles(fleet),
    waitsIfFoundAfter: at - config.leaseMs,
  })
}

/** A task that was to go to another at its deadline has failed where there is none. */
function unmovedAtDeadline({ needs }: ClockFindings, { moves }: Plan): ClockFindings['ends'] {
  const moved = new Set(moves.map(({ need }) => need.task))
  return needs.flatMap(({ task, reason, failed }) => {
    return reason === 'deadline' && !moved.has(task) ? [{ task, reason, agent: failed?.agent ?? null }] : []
  })
}

/** The words have the ending of the attempt in hand, too: they are read when it has ended. */
function taskEnding(task: Task, reason: EndReason, { wall, at, config, observed, board }: Snapshot): TaskEnding {
  const ended = { ...task, ...withEnd(task, reason, null, wall) }
  const history = attemptsInWords(ended, nameIn(observed))
  const unbegun = isResting(task, wall) ? null : unbegunInWords(task, observed, board.conditions, at)
  return { task: task.id, epoch: task.epoch, reason, words: endingInWords(task, reason, config, unbegun, history) }
}

/** Whether beats were read since the task came to its holder: another watchdog may have given it to an agent that is just back. */
function wereBeatsReadSince(task: Task, { leases }: Board, { readAt }: Observed): boolean {
  return readAt !== null && (leases.heldSince(task) ?? Number.POSITIVE_INFINITY) <= readAt.now
}

/**
 * One incident a role: that no agent of it can work is one cause, however many tasks wait. It lasts while an agent only tries with
 * one of them whether it can work again, and when that comes back.
 */
function strandedIncidents(plan: Plan, snapshot: Snapshot): NewIncident[] {
  const { at, config, observed, board, openIncidents } = snapshot
  const isTold = ({ role }: Task): boolean => openIncidents.has(strandedCause(role))
  const waiting = plan.stranded.filter(({ task, since }) => at - since >= config.pendingAfterMs || isTold(task))
  const tasks = [...waiting.map(({ task }) => task), ...triedTasks(plan, snapshot).filter(isTold)]
  const byRole = Map.groupBy(tasks, ({ role }) => role)
  return [...byRole].map(([role, ofRole]) => strandedIncident(role, ofRole, observed, board.conditions, at))
}

/** Tasks by which agents try, or are about to try, whether they can work again. */
function triedTasks({ moves }: Plan, { observed, board }: Snapshot): Task[] {
  const isTrying = (agent: string | undefined): boolean => board.conditions.get(agent ?? '')?.state === 'probing'
  const held = board.tasks.filter(({ holder }) => holder !== null && isTrying(observed.fleet.agentOf(holder)))
  return [...held, ...moves.filter(({ successor }) => isTrying(successor)).map(({ need }) => need.task)]
}

/** Tasks that go round and are not done, until they end: the places are well, so that nothing else tells of them. */
function notNowIncidents({ board, observed }: Snapshot): NewIncident[] {
  return board.tasks.flatMap((task) => {
    const last = lastNotNow(task)
    return last === null ? [] : [notNowIncident(task, last, nameIn(observed)(last.holder))]
  })
}

/** An agent that is lost takes nothing either, also with a new conversation: people know of that by its loss. */
function untakenIncidents({ untaken }: ClockFindings, { moves }: Plan, snapshot: Snapshot): NewIncident[] {
  const { observed, config, openIncidents } = snapshot
  const moved = new Set(moves.map(({ need }) => need.task))
  const lost = new Set([...openIncidents.values()].flatMap(({ kind, agent }) => (isLoss({ kind }) ? [agent] : [])))
  const living = [...untaken].filter(([agent]) => !lost.has(agent))
  return living.map(([agent, tasks]) => {
    const left = tasks.filter((task) => !moved.has(task))
    return untakenIncident(agent, tasks, left, observed, config.takeWithinMs)
  })
}

/**
 * Of an agent that may not work people are told why, which is why its task stands still. When most stalled together and people were
 * told that they show work again, each has its whole time for that before it is told of alone.
 */
function stallIncidents({ stalls, stallsTogether }: ClockFindings, snapshot: Snapshot): NewIncident[] {
  const { at, config, board, observed } = snapshot
  const unexplained = stalls.filter(({ agent }) => !isUnable(board.conditions.get(agent)?.state))
  if (stallsTogether) return unexplained.length === 0 ? [] : [stallsTogetherIncident(unexplained, config)]
  if (at - board.stalledTogetherAt < config.stallAfterMs) return []
  return unexplained.map((stall) => stallIncident(stall, config, observed.clients.of(stall.agent)?.activity ?? null))
}

/** Clients that ended while their agents had tasks in hand. */
function orphanIncidents({ board, observed }: Snapshot): NewIncident[] {
  const orphans = findOrphans(board.tasks, observed.fleet, board.leases, observed.clients)
  const byAgent = Map.groupBy(orphans, ({ failed }) => failed?.agent ?? '')
  return [...byAgent].map(([agent, needs]) =>
    clientGoneIncident(
      agent,
      needs.map(({ task }) => task),
      observed,
    ),
  )
}

/** What is open lasts: a place that tries whether it can work again has its incident until it can. */
function conditionIncidents({ board, openIncidents, observed }: Snapshot): NewIncident[] {
  return [...board.conditions].flatMap(([agent, condition]) => {
    const states = condition.state === 'probing' ? (['sick', 'parked'] as const) : [condition.state]
    const isNew = condition.state !== 'probing' && isWordOfNow(agent, observed)
    return states.flatMap((state) => {
      const incident = conditionIncident(agent, { ...condition, state })
      return isNew || openIncidents.has(incident.cause) ? [incident] : []
    })
  })
}

/** The last word of a host that is heard no more grows old: its silence is told, and not what its client did before. */
function isWordOfNow(agent: string, { fleet, clients }: Observed): boolean {
  const standing = fleet.standing(agent)
  return (standing === undefined || standing.verdict === 'alive') && clients.isKnown(agent)
}

function stalledAgents({ stalls }: ClockFindings): [string, AgentWork][] {
  return stalls.map(({ agent, task }) => {
    const line = task.progress === null ? '' : `: ${task.progress}`
    return [agent, { verdict: 'stalled', why: `${task.id} shows no sign of work${line}`, until: null }]
  })
}

/** A client that waits for a person, or of which people were told that it has ended; that one is closed is no news. */
function clientsAsWork({ at, wall, observed, openIncidents }: Snapshot): [string, AgentWork][] {
  return [...observed.clients.agents()].flatMap((agent): [string, AgentWork][] => {
    const client = observed.clients.of(agent)
    if (client === null) return []
    const { state, what, until } = client.activity
    const since = Math.round(wall - (at - client.since))
    if (state === 'waiting') return [[agent, { verdict: 'waiting', why: what ?? 'it shows a dialog', until, since }]]
    const isLost = state === 'gone' && openIncidents.has(clientGoneCause(agent))
    return isLost ? [[agent, { verdict: 'gone', why: what ?? 'its client has ended', until: null, since }]] : []
  })
}

/** Agents of which people were told that they take nothing, or show no work: they are so until that incident ends. */
function toldAgents({ openIncidents }: Snapshot): [string, AgentWork][] {
  return [...openIncidents.values()].flatMap(({ agent, kind, cause, openedAt: since }): [string, AgentWork][] => {
    if (agent === null || (kind !== 'task_not_taken' && kind !== 'task_stalled')) return []
    const why = kind === 'task_not_taken' ? 'it takes no tasks' : `${stalledTask(cause)?.id} shows no sign of work`
    return [[agent, { verdict: 'stalled', why, until: null, since }]]
  })
}

/** A place that tries whether it can work again is what its incident says until that ends. */
function conditionsAsWork({ wall, board, openIncidents }: Snapshot): [string, AgentWork][] {
  return [...board.conditions].flatMap(([agent, condition]): [string, AgentWork][] => {
    const { state, why, until, since } = condition
    if (state !== 'probing') return [[agent, { verdict: state, why, until, since }]]
    const told = (['parked', 'sick'] as const).find((each) => {
      return openIncidents.has(conditionIncident(agent, { ...condition, state: each }).cause)
    })
    return told === undefined ? [] : [[agent, { verdict: told, why: tryInWords(condition, wall), until: null, since }]]
  })
}

function nameIn({ fleet }: Observed): (session: string) => string {
  return (session) => fleet.agentOf(session as `${string}/b`) ?? session
}
