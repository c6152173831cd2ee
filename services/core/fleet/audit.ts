import { hash } from 'node:crypto'
import { S2Error } from './errors.ts'
import { redact } from './redact.ts'

/** One act. Entries form a chain: each hash covers the entry and the hash before it. */
export interface AuditEntry {
  /** Which bytes the hash covers: entries of both versions stand in one chain. */
  readonly version: AuditVersion
  readonly seq: number
  /** Milliseconds since 1970 by the clock of the store that kept it. */
  readonly at: number
  /** Who did it: a session id, `admin`, or a program's name. */
  readonly actor: string
  readonly action: string
  /** What it was done to, such as `task/build` or `message/12`; null where the details alone say it. */
  readonly what: string | null
  /** `done`, or the code of the refusal. */
  readonly result: string
  /** Milliseconds from the arrival of the request, or else from the call, to this entry; null where no verb wrote it: a restore. */
  readonly latencyMs: number | null
  /** The id of the request, as it stands in the answer's error and in the log. */
  readonly request: string | null
  /** How it was done: plain JSON, redacted when it is appended. */
  readonly details: Readonly<Record<string, unknown>>
  readonly hash: string
}

export type AuditVersion = 1 | 2

/** What a session may have recorded of itself: the stages of its host's guarded commands, and how its agent was woken. */
export function isOwnAct(action: string): boolean {
  return /^guard_[a-z]{1,40}$|^wake_(?:failed|read)$/.test(action)
}

/** An act to be audited, before it has its place in the chain. */
export interface AuditedAct extends Pick<AuditEntry, 'actor' | 'action' | 'details'> {
  /** Left out: found in the details. */
  readonly what?: string | null
  /** Left out: `done`. */
  readonly result?: string
}

/** The last entry of a chain: its number and its hash. */
export interface ChainHead {
  readonly seq: number
  readonly hash: string
}

/** The hash before the first entry. */
export const AUDIT_ROOT = '0'.repeat(64)

/** Where a chain begins. */
export const CHAIN_START: ChainHead = Object.freeze({ seq: 0, hash: AUDIT_ROOT })

/** The details of an act in bytes: JSON with sorted names and without spaces (RFC 8785). */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1))
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`).join(',')}}`
}

/** What the hash of an entry covers beside the hash before it; the details as the text that is kept. */
export type HashedEntry = Omit<AuditEntry, 'details' | 'hash'> & { readonly detailsJson: string }

/**
 * SHA-256 (FIPS 180-4), hex, over a fixed-order JSON array: nothing in the entry can shift into its neighbour, and the name of
 * the version at its head keeps an entry of one version from passing for one of another.
 */
export function auditHash(previous: string, entry: HashedEntry): string {
  const { version, seq, at, actor, action, what, result, latencyMs, request, detailsJson } = entry
  const covered =
    version === 1
      ? [previous, seq, at, actor, action, detailsJson]
      : ['s2-audit-2', previous, seq, at, actor, action, what, result, latencyMs, request, detailsJson]
  return hash('sha256', JSON.stringify(covered), 'hex')
}

/** The details of an entry as its hash covers them, for whoever has the entry and not the text that is kept. */
export function detailsJsonOf({ version, details }: Pick<AuditEntry, 'version' | 'details'>): string {
  return version === 1 ? JSON.stringify(details) : canonicalJson(details)
}

/** Fields that say what an act was done to, the most telling first. */
const SUBJECTS = ['task', 'message', 'incident', 'session', 'conversation'] as const

/** What an act was done to, by its details. */
export function subjectOf({ what, details }: AuditedAct): string | null {
  if (what !== undefined) return what
  const field = SUBJECTS.find((each) => typeof details[each] === 'string' || typeof details[each] === 'number')
  return field === undefined ? null : `${field}/${details[field]}`
}

/** How deep the details of an act may be nested. */
export const DETAILS_DEPTH_MAX = 64
const DETAILS_MAX = 16_384
const TEXT_MAX = 200

/** Checks and redacts an act that a program asks to record. Throws `invalid`. */
export function cleanAct({ actor, action, what = null, result = 'done', details }: AuditedAct): Required<AuditedAct> {
  const isNamed = actor !== '' && [actor, what ?? '', result].every((each) => each.length <= TEXT_MAX)
  if (!isNamed || !/^[a-z][a-z0-9_]{0,63}$/.test(action)) {
    throw new S2Error('invalid', 'an act to record has an actor and an action that names no more than it did', {
      next: 'name the actor in at most 200 characters, and the action in words such as command_refused',
    })
  }
  if (isNestedTooDeep(details)) {
    throw new S2Error('invalid', `the details of ${action} are nested deeper than ${DETAILS_DEPTH_MAX} levels`, {
      next: 'record what happened, not what it was about',
    })
  }
  const clean = redactAll(details) as AuditEntry['details']
  if (canonicalJson(clean).length > DETAILS_MAX) {
    throw new S2Error('invalid', `the details of ${action} are longer than ${DETAILS_MAX} characters`, {
      next: 'record what happened, not what it was about',
    })
  }
  return {
    actor: redact(actor),
    action,
    what: what === null ? null : redact(what),
    result: redact(result),
    details: clean,
  }
}

/** Keeps its own stack: what others wrote may be nested deeper than the call stack, and all that follows calls itself. */
export function isNestedTooDeep(details: AuditEntry['details']): boolean {
  const rest: { readonly value: unknown; readonly depth: number }[] = [{ value: details, depth: 1 }]
  for (let each = rest.pop(); each !== undefined; each = rest.pop()) {
    const { value, depth } = each
    if (typeof value !== 'object' || value === null) continue
    if (depth > DETAILS_DEPTH_MAX) return true
    for (const inner of Object.values(value)) rest.push({ value: inner, depth: depth + 1 })
  }
  return false
}

function redactAll(value: unknown): unknown {
  if (typeof value === 'string') return redact(value)
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map(redactAll)
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [redact(name), redactAll(field)]))
}
