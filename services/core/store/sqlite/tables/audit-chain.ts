import { createHash } from 'node:crypto'
import {
  type AuditEntry,
  type AuditedAct,
  type AuditVersion,
  auditHash,
  CHAIN_START,
  type ChainHead,
  canonicalJson,
  cleanAct,
  type HashedEntry,
  isNestedTooDeep,
  subjectOf,
} from '#fleet/audit.ts'
import type { AuditHead } from '#fleet/audit-head.ts'
import { ChainCheck } from '#fleet/chain-check.ts'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import { latencyOf, type RequestContext } from '../../request-context.ts'
import type { SqliteConnection } from '../file/connection.ts'

/** An entry as the table keeps it. */
export type AuditRow = HashedEntry & { readonly hash: string }

/** Entries read in one go. */
const PAGE = 1000

const COLUMNS =
  'version, seq, at, actor, action, what, result, latency AS latencyMs, request, details AS detailsJson, hash'
/** Of a database that no newer S2 has opened yet. */
const FORMER_COLUMNS = `1 AS version, seq, at, actor, action, NULL AS what, 'done' AS result, NULL AS latencyMs,
  NULL AS request, details AS detailsJson, hash`
const INSERT = `
  INSERT INTO s2_audit (version, seq, at, actor, action, what, result, latency, request, details, hash)
    VALUES (2, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

/** The audit chain in the database. Its head is read under the write lock, so that all processes append to one chain. */
export class AuditChainTable {
  readonly #connection: SqliteConnection
  readonly #clock: Clock
  #head: ChainHead | undefined
  #request: RequestContext | undefined

  constructor(connection: SqliteConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
  }

  /** Call it when a transaction begins or is rolled back: the head may be another one. */
  forgetHead(): void {
    this.#head = undefined
  }

  /** Does something for a request, which its entries name. */
  within<T>(request: RequestContext, act: () => T): T {
    this.#request = request
    try {
      return act()
    } finally {
      this.#request = undefined
    }
  }

  /** Appends one act, within the transaction that does it. */
  append(act: AuditedAct): void {
    this.#head ??= headOf(this.#connection)
    const entry = {
      version: 2 as const,
      seq: this.#head.seq + 1,
      at: this.#clock.wall(),
      actor: act.actor,
      action: act.action,
      what: subjectOf(act),
      result: act.result ?? 'done',
      latencyMs: this.#request === undefined ? null : latencyOf(this.#request, this.#clock.now()),
      request: this.#request?.id ?? null,
      detailsJson: redact(canonicalJson(act.details)),
    }
    const hash = auditHash(this.#head.hash, entry)
    const { seq, at, actor, action, what, result, latencyMs, request, detailsJson } = entry
    this.#connection.run(INSERT, seq, at, actor, action, what, result, latencyMs, request, detailsJson, hash)
    this.#head = { seq, hash }
  }

  /** Appends an act that a program asks to record. */
  record(act: AuditedAct): void {
    this.append(cleanAct(act))
  }

  /** Entries after one, oldest first. */
  audit(after: number, limit: number): AuditEntry[] {
    return this.rows(after, limit).map(entryOf)
  }

  /** The same, as they are kept. */
  rows(after: number, limit: number): AuditRow[] {
    return rowsOf(this.#connection, COLUMNS, after, limit)
  }

  auditHead(): AuditHead {
    return { ...headOf(this.#connection), store: storeIdOf(this.#connection) ?? 'none', at: this.#clock.wall() }
  }
}

export function entryOf({ detailsJson, ...entry }: AuditRow): AuditEntry {
  return { ...entry, version: entry.version as AuditVersion, details: detailsIn(detailsJson) }
}

/** What somebody spoiled is shown as it stands: the entries after it are still to be read, and its hash tells of it. */
function detailsIn(json: string): AuditEntry['details'] {
  try {
    const details = JSON.parse(json)
    const isObject = typeof details === 'object' && details !== null && !Array.isArray(details)
    if (isObject && !isNestedTooDeep(details)) return details
  } catch {
    // no JSON
  }
  return { unreadable: json }
}

function rowsOf(connection: SqliteConnection, columns: string, after: number, limit: number): AuditRow[] {
  return connection.all<AuditRow>(`SELECT ${columns} FROM s2_audit WHERE seq > ? ORDER BY seq LIMIT +?`, after, limit)
}

/** All entries of the database in order, also of one that an older S2 wrote. */
export function* allRows(connection: SqliteConnection): Generator<AuditRow> {
  const columns = isOfBefore(connection) ? FORMER_COLUMNS : COLUMNS
  let after = 0
  for (;;) {
    const rows = rowsOf(connection, columns, after, PAGE)
    yield* rows
    if (rows.length < PAGE) return
    after = rows.at(-1)?.seq ?? after
  }
}

/** Whether what is old was ever sealed into files here; an older S2 knew no segments. */
export function hasSegments(connection: SqliteConnection): boolean {
  return !isOfBefore(connection)
}

function isOfBefore(connection: SqliteConnection): boolean {
  return connection.get("SELECT 1 FROM pragma_table_info('s2_audit') WHERE name = 'version'") === undefined
}

/** The last entry; the chain is not checked. */
export function headOf(connection: SqliteConnection): ChainHead {
  return connection.get<ChainHead>('SELECT seq, hash FROM s2_audit ORDER BY seq DESC LIMIT 1') ?? CHAIN_START
}

/** The entry that the first one in the database follows: the last of those that were sealed into files. */
export function baseOf(connection: SqliteConnection): ChainHead {
  if (isOfBefore(connection)) return CHAIN_START
  const base = connection.get<ChainHead>(
    "SELECT last AS seq, hash FROM s2_segments WHERE kind = 'audit' ORDER BY last DESC LIMIT 1",
  )
  return base ?? CHAIN_START
}

/** Tells the chain of this store from others, also after a restore; null where S2 never wrote. Says nothing of the secret. */
export function storeIdOf(connection: SqliteConnection): string | null {
  const found = connection.get<{ token_key: Uint8Array }>('SELECT token_key FROM s2_secrets')
  if (found === undefined) return null
  return createHash('sha256').update('s2-audit-store').update(found.token_key).digest('hex').slice(0, 16)
}

/** Checks the whole chain and answers its last entry; throws `unavailable`, naming the first entry that is wrong. */
export function proveChain(connection: SqliteConnection, path: string): ChainHead {
  const check = new ChainCheck(baseOf(connection))
  for (const row of allRows(connection)) {
    const fault = check.take(row)
    if (fault !== null) throw broken(path, fault.seq, fault.kind === 'missing' ? 'is missing' : 'was changed')
  }
  return check.head
}

function broken(path: string, seq: number, how: string): S2Error {
  return new S2Error('unavailable', `the audit chain of ${path} is broken: its entry ${seq} ${how}`, {
    next: 'something other than S2 altered the file: use another one, and keep this one as evidence',
  })
}
