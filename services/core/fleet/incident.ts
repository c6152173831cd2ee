/** A trouble with one cause: opened once, closed once. Alerts tell of it. */
export interface Incident {
  readonly id: number
  /** What makes it one cause, e.g. `silent:s2-worker-3`. At most one open incident has it. */
  readonly cause: string
  readonly kind: IncidentKind
  readonly agent: string | null
  readonly summary: string
  readonly openedAt: number
  readonly closedAt: number | null
  /** One sentence that says what is over and why; null while it is open, and where nobody said. */
  readonly outcome: string | null
  /** How often people were told again that it lasts. */
  readonly retold: number
}

export const INCIDENT_KINDS = [
  'silent',
  'gone',
  'mass_silence',
  'blind',
  'task_exhausted',
  'task_stranded',
  'task_failed',
  'task_stalled',
  'task_not_taken',
  'sick',
  'parked',
  'waiting',
  'client_gone',
  'not_woken',
  'flapping',
  'graces',
  'unit_failed',
  'supervisor_away',
  'restart',
  'restart_failed',
  'restarts_exhausted',
  'credentials',
  'certificate',
  'database',
  'twins',
  'audit',
  'alerts_failing',
  'conversation_ended',
  'foreign_rows',
  'dead_letters',
] as const
export type IncidentKind = (typeof INCIDENT_KINDS)[number]

const EVENT_KINDS: ReadonlySet<IncidentKind> = new Set(['task_failed', 'task_exhausted', 'conversation_ended'])

/** An event happened and lasts no time: it is closed as it is opened, told once, and its cause is never opened again. */
export function isEvent({ kind }: Pick<Incident, 'kind'>): boolean {
  return EVENT_KINDS.has(kind)
}

export interface NewIncident {
  readonly cause: string
  readonly kind: IncidentKind
  readonly agent: string | null
  readonly summary: string
}

/**
 * Whether an incident changed at `changedAt` after what somebody judges by was read, `ageMs` before `now`: then that decides nothing about
 * it. A change that lies ahead is of before the clock was put back, and no reason to wait until then.
 */
export function isOutrun(changedAt: number, now: number, ageMs: number): boolean {
  return changedAt <= now && changedAt > now - ageMs
}

/** One event of an incident for one channel; sent at least once, claimed by one watchdog at a time. */
export interface Alert {
  readonly incident: Incident
  readonly event: 'opened' | 'lasting' | 'closed'
  readonly channel: string
  /** How often it was tried before. */
  readonly attempts: number
}

/** The channel of alerts that are for all channels: whoever opens an incident need not know which the watchdog has. */
export const EVERY_CHANNEL = '*'

const UNIT_FAILED = 'unit_failed:'

/** A unit of the service manager, `s2-bridge` or so, that has failed and is not started again by itself. */
export function unitFailed(unit: string, how: string): NewIncident {
  const summary = `${unit} has failed${how === '' ? '' : `: ${how}`}`
  return { cause: UNIT_FAILED + unit, kind: 'unit_failed', agent: null, summary }
}

/** A conversation has ended, and with it what its ends had not read: nobody can read it there any more. */
export function conversationEnded(
  conversation: string,
  names: Readonly<Record<'a' | 'b', string>>,
  unread: Readonly<Record<'a' | 'b', number>>,
  tasksTooLate: number,
): NewIncident {
  const messages = (count: number): string => `${count} message${count === 1 ? '' : 's'}`
  const sides = (['b', 'a'] as const).filter((side) => unread[side] > 0)
  const mail = sides.map((side) => `${messages(unread[side])} that ${names[side]} had not read`).join(' and ')
  const tasks =
    tasksTooLate === 0
      ? ''
      : tasksTooLate === 1
        ? '; a task among them is none'
        : `; ${tasksTooLate} tasks among them are none`
  const summary = `${conversation} (${names.a}, ${names.b}) has ended with ${mail}${tasks}: open a new conversation and send them again`
  return { cause: `conversation_ended:${conversation}`, kind: 'conversation_ended', agent: null, summary }
}

const ALERTS_FAILING = 'alerts_failing:'

/** An alert channel that takes no alerts. */
export function alertsFailing(channel: string, how: string): NewIncident {
  const summary = `alerts by ${channel} fail: ${how}; they wait until it takes them, and s2 alert test tries each channel`
  return { cause: ALERTS_FAILING + channel, kind: 'alerts_failing', agent: null, summary }
}

/** The alert channel that an incident says takes no alerts; null where it is about something else. */
export function failingChannel({ cause }: Pick<Incident, 'cause'>): string | null {
  return cause.startsWith(ALERTS_FAILING) ? cause.slice(ALERTS_FAILING.length) : null
}

const CERTIFICATE_KINDS = ['expired', 'not yet valid', 'expires soon', 'unusable', 'foreign'] as const
export type CertificateKind = (typeof CERTIFICATE_KINDS)[number]

/** An incident about the bridge's certificate. Each kind is a cause of its own: `expires soon` may become `expired`. */
export function certificateIncident(kind: CertificateKind, summary: string): NewIncident {
  return { cause: certificateCause(kind), kind: 'certificate', agent: null, summary }
}

export const CERTIFICATE_CAUSES: readonly string[] = CERTIFICATE_KINDS.map(certificateCause)

function certificateCause(kind: CertificateKind): string {
  return `certificate:${kind.replaceAll(' ', '_')}`
}

/** Copies beside a database, which programs made when its files were taken away or written over. */
export function heldIncident(path: string, copies: readonly string[]): NewIncident {
  const summary =
    `the files of ${path} were changed while programs had it open; what they held is in ${copies.join(', ')}: ` +
    `bring back what is missing (s2 import FILE), then move it away`
  return { cause: 'database:held', kind: 'database', agent: null, summary }
}

/** Which unit an incident is about; null where it is about none. */
export function unitOf({ cause }: Pick<Incident, 'cause'>): string | null {
  return cause.startsWith(UNIT_FAILED) ? cause.slice(UNIT_FAILED.length) : null
}
