import type { ClientStanding } from '#fleet/client-observer.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { TWINS_OVER_MS } from '#fleet/twin-detector.ts'
import { formatDuration, roughDuration } from '#runtime/duration.ts'
import { waitingCause } from './client-incidents.ts'
import type { Departure } from './departed-agents.ts'
import { type LossHistory, STEADY_MS } from './flapping-agents.ts'
import type { Observed } from './fleet-observation.ts'
import { placeOf } from './incident-texts.ts'
import type { OpenIncident } from './open-incidents.ts'
import type { AgentLoss } from './reported-losses.ts'

/** As much of the snapshot of a look as tells what became of an agent. */
interface AgentSnapshot {
  readonly at: number
  readonly wall: number
  readonly observed: Observed
  readonly losses: ReadonlyMap<string, AgentLoss>
  readonly lossHistory: LossHistory
  readonly departures: ReadonlyMap<string, Departure>
}

/**
 * What is over of an incident that tells of one agent; null while its cause lasts, or where nobody knows. An agent that no
 * conversation names any more is lost still, unless it left the fleet on purpose.
 */
export function endOfAgentIncident(incident: OpenIncident, snapshot: AgentSnapshot): string | null {
  const { kind, agent } = incident
  if (agent === null || !ENDS_WITH_AGENT.has(kind)) return null
  const departure = snapshot.departures.get(agent)
  if (departure !== undefined) return `${agent} ${departure}`
  switch (kind) {
    case 'silent':
    case 'restarts_exhausted':
      return isBack(agent, snapshot) ? heardAgain(incident, agent, snapshot) : null
    case 'restart_failed':
      if (isBack(agent, snapshot)) return heardAgain(incident, agent, snapshot)
      return wasSeenLiving(agent, incident, snapshot) ? `what ${agent} runs in lives again` : null
    case 'gone':
      return isDeathOver(incident, agent, snapshot) ? heardAgain(incident, agent, snapshot) : null
    case 'twins':
      return areTwinsOver(agent, snapshot)
        ? `${agent} has run in one place only for ${roughDuration(TWINS_OVER_MS)}`
        : null
    case 'waiting':
      return endOfDialog(incident, agent, snapshot)
    case 'client_gone':
      return endOfClientGone(incident, agent, snapshot)
    case 'flapping':
      return isSteady(agent, snapshot) ? comeToRest(agent, snapshot) : null
    default:
      return null
  }
}

const ENDS_WITH_AGENT: ReadonlySet<NewIncident['kind']> = new Set([
  'silent',
  'gone',
  'restarts_exhausted',
  'restart_failed',
  'twins',
  'flapping',
  'task_not_taken',
  'sick',
  'parked',
  'waiting',
  'client_gone',
  'not_woken',
])

/** How long an incident has lasted; no less than nothing, as the wall clock may be put back. */
export function lastedMs({ openedAt }: Pick<OpenIncident, 'openedAt'>, wall: number): number {
  return Math.max(0, wall - openedAt)
}

function heardAgain(incident: OpenIncident, agent: string, { wall, observed }: AgentSnapshot): string {
  const lasted = roughDuration(lastedMs(incident, wall))
  return `${agent} was heard again after ${lasted}${placeOf(agent, observed.fleet.standing(agent)?.host)}`
}

/** A host that has been heard so long ago, milliseconds, has said of each of its clients what it does. */
const SAID_AFTER_MS = 15_000

/** What the host of an agent says of its client now; undefined where that is not known yet. */
function clientNow(agent: string, { at, observed }: AgentSnapshot): ClientStanding | null | undefined {
  const standing = observed.fleet.standing(agent)
  const isKnown = standing?.verdict === 'alive' && standing.proven && at - standing.knownSince >= SAID_AFTER_MS
  return isKnown && observed.clients.isSettled(agent) ? observed.clients.of(agent) : undefined
}

function endOfDialog(incident: OpenIncident, agent: string, snapshot: AgentSnapshot): string | null {
  const client = clientNow(agent, snapshot)
  if (client === undefined) return null
  const after = `after ${roughDuration(lastedMs(incident, snapshot.wall))}`
  if (client === null) return `nothing is known of a client of ${agent} any more, ${after}`
  if (client.activity.state === 'gone') return `the client of ${agent} ended at its dialog, ${after}`
  if (client.activity.state !== 'waiting') return `${agent} goes on ${after}`
  return waitingCause(agent, client.activity) === incident.cause ? null : `${agent} asks for something else now`
}

function endOfClientGone(incident: OpenIncident, agent: string, snapshot: AgentSnapshot): string | null {
  const client = clientNow(agent, snapshot)
  if (client === undefined || client?.activity.state === 'gone') return null
  const after = `after ${roughDuration(lastedMs(incident, snapshot.wall))}`
  return client === null
    ? `the client of ${agent} is not waited for any more, ${after}`
    : `the client of ${agent} runs again ${after}`
}

/** The agent was heard since the last grace. */
export function isBack(agent: string, { observed }: Pick<AgentSnapshot, 'observed'>): boolean {
  const standing = observed.fleet.standing(agent)
  return standing !== undefined && standing.verdict === 'alive' && standing.proven
}

/** Of a death it is not enough that a daemon beats: what the agent ran in lives, or it showed a sign of life since. */
function isDeathOver(incident: OpenIncident, agent: string, snapshot: AgentSnapshot): boolean {
  if (!isBack(agent, snapshot)) return false
  const signs = snapshot.observed.fleet.standing(agent)?.signs
  return signs !== snapshot.losses.get(agent)?.signsAtDeath || wasSeenLiving(agent, incident, snapshot)
}

/** Of two watchdogs one finds out first that an agent died: what the other had been told of its process before ends nothing. */
function wasSeenLiving(agent: string, { seenAt }: OpenIncident, { observed }: AgentSnapshot): boolean {
  const found = observed.processes.of(agent)
  return found !== null && found.askedAt > seenAt && (found.state === 'living' || found.state === 'hindered')
}

/** A watchdog that has just begun has not seen them; whether they are twins shows only with time. */
function areTwinsOver(agent: string, { at, observed: { fleet } }: AgentSnapshot): boolean {
  const standing = fleet.standing(agent)
  if (standing === undefined || at - standing.knownSince <= TWINS_OVER_MS) return false
  return !fleet.twins(at).some((each) => each.agent === agent)
}

/** It has been heard for long without being lost, as far as this watchdog can see that. */
function isSteady(agent: string, snapshot: AgentSnapshot): boolean {
  const { at, observed, lossHistory } = snapshot
  const flapping = lossHistory.flapping(agent)
  const since = lossHistory.steadySince(agent)
  if (flapping === null || since === null || !isBack(agent, snapshot)) return false
  if (flapping.hasUnseenDeath && observed.processes.of(agent) === null) return false
  return at - Math.max(since, observed.fleet.standing(agent)?.knownSince ?? at) >= STEADY_MS
}

function comeToRest(agent: string, { lossHistory }: AgentSnapshot): string {
  const flapping = lossHistory.flapping(agent)
  const times = `${flapping?.isAtLeast === true ? 'at least ' : ''}${flapping?.losses} times`
  return `${agent} has been heard without a gap for ${formatDuration(STEADY_MS)}; it was lost ${times} in all`
}
