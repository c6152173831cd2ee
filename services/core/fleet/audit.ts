import { createHash } from 'node:crypto'

/** One act. Entries form a chain: each hash covers the entry and the hash before it. */
export interface AuditEntry {
  readonly seq: number
  /** Milliseconds since 1970 by the clock of the store that kept it. */
  readonly at: number
  /** Who did it: a session id, `admin`, or a program's name. */
  readonly actor: string
  readonly action: string
  /** What it was done to, and how: plain JSON, redacted when it is appended. */
  readonly details: Readonly<Record<string, unknown>>
  readonly hash: string
}

/** An act to be audited, before it has its place in the chain. */
export type AuditedAct = Pick<AuditEntry, 'actor' | 'action' | 'details'>

/** The hash before the first entry. */
export const AUDIT_ROOT = '0'.repeat(64)

/** SHA-256 (FIPS 180-4), hex, over a fixed-order JSON array: nothing in the entry can shift into its neighbour. */
export function auditHash(
  previous: string,
  seq: number,
  at: number,
  actor: string,
  action: string,
  detailsJson: string,
): string {
  return createHash('sha256')
    .update(JSON.stringify([previous, seq, at, actor, action, detailsJson]))
    .digest('hex')
}
