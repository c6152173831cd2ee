/** One cause, opened once, closed once. Alerts belong to incidents. */
export interface Incident {
  readonly id: number
  /** What makes it one cause, e.g. `silent:s2-worker-3`. At most one open incident has it. */
  readonly cause: string
  readonly kind: IncidentKind
  readonly agent: string | null
  readonly summary: string
  readonly openedAt: number
  readonly closedAt: number | null
}

export const INCIDENT_KINDS = [
  'silent',
  'mass_silence',
  'blind',
  'task_exhausted',
  'task_stranded',
  'unit_failed',
  'credentials',
] as const
export type IncidentKind = (typeof INCIDENT_KINDS)[number]

export interface NewIncident {
  readonly cause: string
  readonly kind: IncidentKind
  readonly agent: string | null
  readonly summary: string
}

/** One thing to say about an incident through one channel; told at least once, claimed by one watchdog at a time. */
export interface Alert {
  readonly incident: Incident
  readonly event: 'opened' | 'closed'
  readonly channel: string
  /** How often it was tried before. */
  readonly attempts: number
}
