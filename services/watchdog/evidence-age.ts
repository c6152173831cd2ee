import type { NewIncident } from '#fleet/incident.ts'
import type { Moment } from '#runtime/clock.ts'
import type { Observed } from './fleet-observation.ts'

/** What is decided of an incident, and when the oldest of what that rests on was read. */
export type ByEvidence<T> = T & { readonly evidenceAt: Moment }

/** As much of the snapshot of a look as tells how old it is. */
interface EvidenceSnapshot {
  readonly at: number
  readonly wall: number
  readonly observed: Pick<Observed, 'readAt' | 'processes'>
}

/** These say of an agent what its supervisor said last. */
const BY_PROCESSES: ReadonlySet<NewIncident['kind']> = new Set(['gone', 'restart', 'restarts_exhausted'])

/**
 * An incident is opened by the beats as they were read last, by the tasks, and some by what a supervisor said: of two watchdogs one
 * may have closed it since the other read any of them.
 */
export function evidenceToOpen(
  { kind, agent }: Pick<NewIncident, 'kind' | 'agent'>,
  snapshot: EvidenceSnapshot,
): Moment {
  const found = BY_PROCESSES.has(kind) && agent !== null ? snapshot.observed.processes.of(agent) : null
  return earlier(evidenceOf(snapshot), found?.askedAt)
}

/** When the older of beats and tasks was read. What a supervisor said after it died ends a death, which is looked at where that is. */
export function evidenceOf({ at, wall, observed: { readAt } }: EvidenceSnapshot): Moment {
  return earlier({ now: at, wall }, readAt?.now)
}

function earlier({ now, wall }: Moment, than = now): Moment {
  const backMs = Math.max(0, now - than)
  return { now: now - backMs, wall: wall - backMs }
}
