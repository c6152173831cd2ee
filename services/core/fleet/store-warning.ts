import type { NewIncident } from './incident.ts'

/** What is not well with the database of the fleet while it serves: nothing is refused for it, and no program is unready. */
export interface StoreWarning {
  /** `log`: its log cannot be taken up into the file, and grows. `rights`: everybody on its host may read it. */
  readonly kind: 'log' | 'rights'
  /** What it is, in one sentence. */
  readonly message: string
  readonly next: string
}

/** What people are told while it lasts. The store keeps this incident, for it can be written to. */
export function warningIncident({ kind, message, next }: StoreWarning): NewIncident {
  return { cause: warningCause(kind), kind: 'database', agent: null, summary: `${message}; ${next}` }
}

export function warningCause(kind: StoreWarning['kind']): string {
  return `database:${kind}`
}
