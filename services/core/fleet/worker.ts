import { createHash } from 'node:crypto'
import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import { redactedHead } from './redact.ts'
import { ORCHESTRATOR } from './session-id.ts'

/** A worker of the fleet, known by its keys. Times are milliseconds since 1970, UTC. */
export interface Worker {
  readonly agent: string
  readonly role: string
  /** Its channel to the orchestrator, the same for as long as it belongs to the fleet; null until it has joined. */
  readonly conversation: string | null
  /** The public keys of its host; null until it has joined. */
  readonly key: string | null
  readonly recipient: string | null
  /** What its host said that it is called. For people. */
  readonly host: string | null
  /** The credential that it shall have, and when that was made; 0: none yet. */
  readonly serial: number
  /** The credential that was published last. */
  readonly published: number
  /** When its open invitation ends, which is the latest; null where none is open. */
  readonly invitedUntil: number | null
  readonly joinedAt: number | null
  readonly revokedAt: number | null
  /** Why its host refuses the credential that is published for it, redacted; null while it does not. */
  readonly refusal: string | null
}

/** Characters of a refusal that are kept. */
const REFUSAL_MAX = 300

/** What a host says of the credential that it refuses, as it is kept: a line without secrets or characters that steer a terminal. */
export function cleanRefusal(why: string): string {
  return redactedHead(why, REFUSAL_MAX).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ')
}

/** A one-time invitation of a worker. The secret itself is kept by nobody but its holder. */
export interface NewInvitation {
  readonly agent: string
  readonly role: string
  /** SHA-256 of the secret, in base64url. */
  readonly secretHash: string
  readonly endsAt: number
  /** The conversation of another bridge's agents whose end b the worker takes; absent: it has one of its own, as others do. */
  readonly conversation?: string
}

/** A host that asks to be a worker, or is made one by the orchestrator itself. */
export interface Admission {
  readonly agent: string
  readonly key: string
  readonly recipient: string
  readonly host: string | null
  /** SHA-256 of the invitation's secret; null where the orchestrator's own host admits it, under the role given. */
  readonly secretHash: string | null
  /** Where no invitation says it. */
  readonly role: string | null
  /** What the other end is called. */
  readonly orchestrator: string
  readonly lifetimeMs: number
}

/** A request to join, sealed to the orchestrator; the bridge keeps it unread. */
export interface JoinRequest {
  /** SHA-256 of `sealed`, in hexadecimal: `joinRequestId`. */
  readonly id: string
  readonly sealed: string
  readonly at: number
}

/** The id of a sealed request: whoever has it can ask what became of it. */
export function joinRequestId(sealed: string): string {
  return createHash('sha256').update(sealed).digest('hex')
}

/** What became of a request to join. */
export interface JoinOutcome {
  readonly state: 'waiting' | 'admitted' | 'refused' | 'unknown'
  /** Why it was refused, for the person at that host. */
  readonly why: string | null
}

/** A request to join may have so many characters, and so many may wait at once; the oldest goes first. */
export const JOIN_REQUEST_MAX = 8_192
export const JOIN_REQUESTS_MAX = 200
/** A request that nobody took up is forgotten after a day. */
export const JOIN_REQUEST_MS = 86_400_000

/**
 * Names of workers are names of files, of refs and of units. That of the orchestrator is taken: a worker of that name would be
 * shown as the agent that hands out the work, and could not be told from it.
 */
export const WORKER_NAME = new RegExp(`^(?!${ORCHESTRATOR}$)[a-z][a-z0-9-]{0,47}$`)

/** The worker that a person means by a number or a name. Throws `invalid`. */
export function workerNamed(text: string): string {
  return demandWorkerName(/^[1-9]\d{0,6}$/.test(text) ? `s2-worker-${text}` : text)
}

/** Throws `invalid` for what no worker may be called. */
export function demandWorkerName(name: string): string {
  if (WORKER_NAME.test(name)) return name
  if (name === ORCHESTRATOR)
    throw new S2Error('invalid', `no worker may be called ${ORCHESTRATOR}: that is the agent that hands out the work`, {
      next: 'choose another name, or a number, which makes s2-worker-<number>',
    })
  throw new S2Error('invalid', `${JSON.stringify(textHead(name, 80))} cannot be a worker's name`, {
    next: 'give a number, which makes s2-worker-<number>, or up to 48 small letters, digits and dashes',
  })
}

/** A serial is the time at which it was given, and later than every one before it. */
export function serialAfter(before: number, now: number): number {
  return Math.max(Math.floor(now), before + 1)
}
