import type { Roster } from '#fleet/failure-detector.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { Worker } from '#fleet/worker.ts'

/** How an agent left the fleet on purpose, as its name is followed by it: `was revoked`. */
export type Departure = string

/** The agents that somebody waits for and that no live conversation names: those of open incidents, and of a mass silence. */
export function findMissing(
  incidents: Iterable<Pick<NewIncident, 'agent'>>,
  massLost: Iterable<string>,
  fleet: Pick<Roster, 'standing'>,
): ReadonlySet<string> {
  const missing = new Set<string>()
  for (const { agent } of incidents) if (agent !== null && fleet.standing(agent) === undefined) missing.add(agent)
  for (const agent of massLost) if (fleet.standing(agent) === undefined) missing.add(agent)
  return missing
}

/**
 * Which of these left on purpose, and how. That a conversation expired, or that an agent is not named any more, is no such
 * sign: whoever was lost then is lost still.
 */
export function findDepartures(
  missing: Iterable<string>,
  workers: readonly Pick<Worker, 'agent' | 'revokedAt'>[],
  fleet: Pick<Roster, 'nameNow'>,
): ReadonlyMap<string, Departure> {
  const departures = new Map<string, Departure>()
  const revoked = new Set(workers.filter(({ revokedAt }) => revokedAt !== null).map(({ agent }) => agent))
  for (const agent of missing) {
    const name = fleet.nameNow(agent)
    if (name !== undefined) departures.set(agent, `is called ${name} now`)
    else if (revoked.has(agent)) departures.set(agent, 'was revoked')
  }
  return departures
}
