import type { Incident, NewIncident } from './incident.ts'

/** What keeps the database of the fleet from being written to. It is over when its cause is: nobody needs to start anything again. */
export interface StoreTrouble {
  readonly kind: 'locked' | 'full'
  /** What it is, in one sentence. */
  readonly message: string
  readonly next: string
  /** Milliseconds since 1970. */
  readonly since: number
}

/** What people are told while it lasts. No store keeps this incident: it is told because nothing can be kept. */
export function databaseIncident({ kind, message, next }: StoreTrouble): NewIncident {
  const summary = `${message}; no message and no task can be written, and no agent is judged; ${next}`
  return { cause: causeOf(kind), kind: 'database', agent: null, summary }
}

/** How a trouble ended after `lasted`: not well, where another has taken its place. */
export function outcomeOfTrouble(successor: StoreTrouble | null, lasted: string): string {
  return successor === null
    ? `the database can be written to again, after ${lasted}`
    : `the database has another trouble, after ${lasted}: ${successor.message}`
}

/** Whether an incident says that the database cannot be written to now. */
export function isStoreTrouble({ cause }: Pick<Incident, 'cause'>): boolean {
  return cause === causeOf('locked') || cause === causeOf('full')
}

function causeOf(kind: StoreTrouble['kind']): string {
  return `database:${kind}`
}

/** The same among the incidents of the store, while it lasts. */
export function presentIncident(trouble: StoreTrouble): Incident {
  return { ...databaseIncident(trouble), id: 0, openedAt: trouble.since, closedAt: null, outcome: null, retold: 0 }
}
