import { AUDIT_ROOT, type AuditEntry, type AuditedAct, auditHash } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import type { SqliteConnection } from '../file/connection.ts'

/** The last entry of the chain: its number and its hash. */
export interface ChainHead {
  readonly seq: number
  readonly hash: string
}

interface RawEntry extends ChainHead {
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly details: string
}

/** Entries read in one go. */
const PAGE = 1000

/** The audit chain in the database. Its head is read under the write lock, so that all processes append to one chain. */
export class AuditChainTable {
  readonly #connection: SqliteConnection
  readonly #clock: Clock
  #head: ChainHead | undefined

  constructor(connection: SqliteConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
  }

  /** Call it when a transaction begins or is rolled back: the head may be another one. */
  forgetHead(): void {
    this.#head = undefined
  }

  /** Appends one act, within the transaction that does it. */
  append({ actor, action, details }: AuditedAct): void {
    this.#head ??= headOf(this.#connection)
    const seq = this.#head.seq + 1
    const at = this.#clock.wall()
    const json = redact(JSON.stringify(details))
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

  /** Entries after one, oldest first. */
  audit(after: number, limit: number): AuditEntry[] {
    return this.#connection
      .all<AuditEntry & { details: string }>(
        'SELECT seq, at, actor, action, details, hash FROM s2_audit WHERE seq > ? ORDER BY seq LIMIT +?',
        after,
        limit,
      )
      .map((entry) => ({ ...entry, details: JSON.parse(entry.details) }))
  }
}

/** The last entry; the chain is not checked. */
export function headOf(connection: SqliteConnection): ChainHead {
  const last = connection.get<ChainHead>('SELECT seq, hash FROM s2_audit ORDER BY seq DESC LIMIT 1')
  return last ?? { seq: 0, hash: AUDIT_ROOT }
}

/** Checks the whole chain and answers its last entry; throws `unavailable`, naming the first entry that is wrong. */
export function proveChain(connection: SqliteConnection, path: string): ChainHead {
  let head: ChainHead = { seq: 0, hash: AUDIT_ROOT }
  for (;;) {
    const entries = connection.all<RawEntry>(
      'SELECT seq, at, actor, action, details, hash FROM s2_audit WHERE seq > ? ORDER BY seq LIMIT +?',
      head.seq,
      PAGE,
    )
    for (const { seq, at, actor, action, details, hash } of entries) {
      if (seq !== head.seq + 1) throw broken(path, head.seq + 1, 'is missing')
      if (hash !== auditHash(head.hash, seq, at, actor, action, details)) throw broken(path, seq, 'was changed')
      head = { seq, hash }
    }
    if (entries.length < PAGE) return head
  }
}

function broken(path: string, seq: number, how: string): S2Error {
  return new S2Error('unavailable', `the audit chain of ${path} is broken: its entry ${seq} ${how}`, {
    next: 'something other than S2 altered the file: use another one, and keep this one as evidence',
  })
}
