import { type Act, AUDIT_ROOT, type AuditEntry, auditHash } from '#fleet/audit.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Connection } from './connection.ts'

interface Head {
  readonly seq: number
  readonly hash: string
}

/** The audit chain in the database. Its head is read under the write lock, so that all processes append to one chain. */
export class Chain {
  readonly #connection: Connection
  readonly #clock: Clock
  #head: Head | undefined

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
  }

  /** To be called when a transaction begins or is undone: the head may be another one. */
  forgetHead(): void {
    this.#head = undefined
  }

  /** Appends one act, within the transaction that does it. */
  append({ actor, action, details }: Act): void {
    this.#head ??= this.#readHead()
    const seq = this.#head.seq + 1
    const at = this.#clock.wall()
    const json = JSON.stringify(details)
    const hash = auditHash(this.#head.hash, seq, at, actor, action, json)
    this.#connection.run(
      'INSERT INTO s2_audit (seq, at, actor, action, details, hash) VALUES (?, ?, ?, ?, ?, ?)',
      seq,
      at,
      actor,
      action,
      json,
      hash,
    )
    this.#head = { seq, hash }
  }

  #readHead(): Head {
    const last = this.#connection.get<Head>('SELECT seq, hash FROM s2_audit ORDER BY seq DESC LIMIT 1')
    return last ?? { seq: 0, hash: AUDIT_ROOT }
  }
}

/** Entries after one, oldest first. */
export function readChain(connection: Connection, after: number, limit: number): AuditEntry[] {
  return connection
    .all<AuditEntry & { details: string }>(
      'SELECT seq, at, actor, action, details, hash FROM s2_audit WHERE seq > ? ORDER BY seq LIMIT +?',
      after,
      limit,
    )
    .map((entry) => ({ ...entry, details: JSON.parse(entry.details) }))
}
