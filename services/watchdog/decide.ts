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
import { formatDuration } from '#runtime/duration.ts'
import type { WatchConfig } from './config.ts'
import type { OpenIncidents } from './open-incidents.ts'
import type { View } from './view.ts'

/** What a look found to be done. */
export interface Decision {
  readonly moves: readonly PlannedMove[]
  readonly open: readonly NewIncident[]
  /** By their causes. */
  readonly close: readonly string[]
}

/** An incident that one condition opens and another closes; between the two it stays as it is. */
interface Toggle {
  readonly cause: string
  readonly wanted: NewIncident | null
  readonly isOver: boolean
}

/** Decides what to do about what was seen, without doing any of it. Moves are decided on fresh tasks only. */
export function decide(
  view: View,
  at: number,
  hasTasks: boolean,
  config: WatchConfig,
  incidents: Pick<OpenIncidents, 'isOpen' | 'of'>,
): Decision {
  for (const agent of view.failed(at)) {
    view.roster.noteIncident(agent, at)
    view.owed.add(agent)
  }
  const plan = hasTasks && !view.blind ? makePlan(view, at, config) : null
  const toggles = [
    blindness(view, config),
    massSilence(view, at),
    ...absences(view, at, config, incidents),
    ...(plan === null ? [] : [stranding(view, plan, at, config)]),
  ]
  const exhaustion = plan === null ? [] : plan.exhausted.map(exhaustedIncident)
  return {
    moves: plan?.moves ?? [],
    open: [
      ...toggles.flatMap(({ cause, wanted }) => (wanted === null || incidents.isOpen(cause) ? [] : [wanted])),
      ...[...view.owed].map((agent) => lossIncident(agent, view, config)),
      ...exhaustion.filter(({ cause }) => !incidents.isOpen(cause)),
    ],
    close: [
      ...toggles.flatMap(({ cause, wanted, isOver }) => {
        return wanted === null && isOver && incidents.isOpen(cause) ? [cause] : []
      }),
      ...[...incidents.of('silent'), ...incidents.of('restarts_exhausted')].flatMap(({ cause, agent }) => {
        return isOver(agent, view) ? [cause] : []
      }),
      ...incidents.of('restart_failed').flatMap(({ cause, agent }) => {
        return isOver(agent, view) || doesBodyLive(agent, view) ? [cause] : []
      }),
      ...incidents.of('gone').flatMap(({ cause, agent }) => (isDeathOver(agent, view) ? [cause] : [])),
      ...(plan === null ? [] : endedExhaustion(incidents, exhaustion)),
    ],
  }
}

/** Tasks that were moved too often, and need no move any more. */
function endedExhaustion(incidents: Pick<OpenIncidents, 'of'>, exhaustion: readonly NewIncident[]): string[] {
  const causes = new Set(exhaustion.map(({ cause }) => cause))
  return incidents.of('task_exhausted').flatMap(({ cause }) => (causes.has(cause) ? [] : [cause]))
}

/** What to move now. While many are silent together nothing is, and nothing is known of what should be. */
function makePlan(view: View, at: number, config: WatchConfig): Plan | null {
  const { tasks, roster, leases } = view
  view.waiting = 0
  if (roster.massSilence) return null
  const needs = findNeeds(tasks, roster, leases, at).filter(({ reason, task }) => {
    return reason !== 'silent' || isSeenSince(task, view)
  })
  const isIdle = needs.length === 0 // going through a large fleet takes longer than a verdict may wait
  const plan = planMoves(needs, isIdle ? [] : findCandidates(tasks, roster, leases, view.agentProcesses), {
    movesMax: config.movesMax,
    agentsNow: config.moveEveryMs === 0 ? Number.POSITIVE_INFINITY : view.turnAt <= at ? 1 : 0,
    expected: isIdle ? new Set() : expectedRoles(roster),
    patientSince: at - config.leaseMs,
  })
  view.waiting = plan.waiting
  for (const { need } of plan.moves) if (need.failed !== null) view.serving.add(need.failed.agent)
  return plan
}

/** Whether beats were read since the task came to its holder: another watchdog may have given it to one that is just back. */
function isSeenSince(task: Task, { leases, seen }: View): boolean {
  return seen !== null && (leases.stillSince(task) ?? Number.POSITIVE_INFINITY) <= seen.now
}

/** A lost agent's incident is over when the agent is heard again, or has no conversation any more. */
function isOver(agent: string | null, { roster }: View): boolean {
  const standing = agent === null ? undefined : roster.standing(agent)
  return standing === undefined || (standing.verdict === 'alive' && standing.proven)
}

/** Of a death it is not enough that a daemon beats: what it ran in lives, or it showed a sign of life since. */
function isDeathOver(agent: string | null, view: View): boolean {
  if (!isOver(agent, view)) return false
  const standing = agent === null ? undefined : view.roster.standing(agent)
  if (agent === null || standing === undefined) return true
  return doesBodyLive(agent, view) || standing.signs !== view.mourned.get(agent)
}

function doesBodyLive(agent: string | null, { agentProcesses }: View): boolean {
  const state = agent === null ? undefined : agentProcesses.of(agent)?.state
  return state === 'living' || state === 'hindered'
}

function lossIncident(agent: string, { roster, agentProcesses }: View, config: WatchConfig): NewIncident {
  const standing = roster.standing(agent)
  const host = standing?.host
  const where = host === null || host === undefined ? '' : ` on ${host}`
  const found = agentProcesses.of(agent)
  const why =
    found === null || found.state === 'living' ? '' : ` (${found.agentProcess.name}: ${found.agentProcess.why})`
  if (standing?.verdict === 'gone') {
    const summary = `${agent}${where} is gone${why}; its tasks go to others`
    return { cause: `gone:${agent}`, kind: 'gone', agent, summary }
  }
  const summary =
    standing?.isNew === true
      ? `${agent} has tasks and was never heard${why}; they go to others: on its host, s2 health says what is missing`
      : `${agent}${where} was not heard for ${formatDuration(config.silentAfterMs)}${why}; its tasks go to others`
  return { cause: `silent:${agent}`, kind: 'silent', agent, summary }
}

function blindness(view: View, config: WatchConfig): Toggle {
  const summary = `nobody has collected beats for ${formatDuration(config.lateAfterMs)}: the bridge may be down; nobody is judged and nothing is moved`
  return toggle({ cause: 'blind', kind: 'blind', agent: null, summary }, view.blind, view.sees)
}

const AWAY = 'supervisor_away:'

/** Of every supervisor that does not answer, or of which an incident says so. */
function absences(view: View, at: number, config: WatchConfig, incidents: Pick<OpenIncidents, 'of'>): Toggle[] {
  const told = incidents.of('supervisor_away').map(({ cause }) => cause.slice(AWAY.length))
  return [...new Set([...told, ...view.away.keys()])].map((source) => absence(source, view, at, config))
}

function absence(source: string, { away }: View, at: number, config: WatchConfig): Toggle {
  const since = away.get(source)
  const summary = `${source} does not answer: nobody is taken for dead, or started again, by what it says`
  const incident: NewIncident = { cause: `${AWAY}${source}`, kind: 'supervisor_away', agent: null, summary }
  return toggle(incident, since !== undefined && at - since >= config.lateAfterMs, since === undefined)
}

function massSilence(view: View, at: number): Toggle {
  const { count, unheard } = view.roster.tally
  const summary = `${unheard} of ${count} agents were lost together: the cause is hardly theirs; nothing is moved`
  const incident: NewIncident = { cause: 'mass_silence', kind: 'mass_silence', agent: null, summary }
  const knows = view.knowsAll(at) // who does not leaves it to another watchdog, or to a later look
  return toggle(incident, knows && view.isMass, knows && !view.roster.massSilence)
}

/** One incident for all tasks that nobody can take: they have one cause, and that is that nobody is there. */
function stranding(view: View, { stranded }: Plan, at: number, config: WatchConfig): Toggle {
  view.strandedSince = stranded.length === 0 ? null : (view.strandedSince ?? at)
  const lasts = view.strandedSince !== null && at - view.strandedSince >= config.lateAfterMs
  const names = stranded.slice(0, NAMED_MAX).map(({ id }) => id)
  const more = stranded.length > NAMED_MAX ? ` and ${stranded.length - NAMED_MAX} more` : ''
  const summary = `no agent is there to take ${names.join(', ')}${more}; tried again until one is`
  const incident: NewIncident = { cause: 'task_stranded', kind: 'task_stranded', agent: null, summary }
  return toggle(incident, lasts, view.strandedSince === null)
}

const NAMED_MAX = 5

function toggle(incident: NewIncident, isWanted: boolean, isOver: boolean): Toggle {
  return { cause: incident.cause, wanted: isWanted ? incident : null, isOver }
}

function exhaustedIncident({ id, moves }: Task): NewIncident {
  const summary = `task ${id} lost its owner again after ${moves} moves: give it to somebody by hand, or cancel it`
  return { cause: `task_exhausted:${id}`, kind: 'task_exhausted', agent: null, summary }
}
