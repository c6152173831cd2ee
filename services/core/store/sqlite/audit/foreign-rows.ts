import { createHash } from 'node:crypto'
import type { Clock } from '#runtime/clock.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { ID_MAX } from '../tables/messages.ts'
import type { Tables } from '../tables/tables.ts'

/** How often rows of foreign writers are sealed, milliseconds: until then they can be altered unseen. */
const SEAL_EVERY_MS = 10_000
/** Rows sealed by one entry. */
const SEALED_AT_ONCE = 1_000

/** Any value of any type, told apart from all others; the table is not strict. */
const FIELDS = ['conversation_id', 'session_id', 'action', 'details', 'timestamp']
const ROWS = `SELECT id, ${FIELDS.map((field) => `typeof(${field}) || ':' || hex(${field}) AS ${field}`).join(', ')}
  FROM audit_log WHERE id BETWEEN ? AND ? ORDER BY id`

/** Rows of `audit_log` from one id to another, in canonical bytes: their number and their SHA-256. */
export function hashForeignRows(
  connection: SqliteConnection,
  from: number,
  to: number,
): { rows: number; hash: string } {
  const sum = createHash('sha256')
  const rows = connection.all(ROWS, from, to)
  for (const row of rows) sum.update(`${JSON.stringify([row.id, ...FIELDS.map((field) => row[field])])}\n`)
  return { rows: rows.length, hash: sum.digest('hex') }
}

/** Rows of `audit_log` that no entry seals yet. */
export function countUnsealed(connection: SqliteConnection, after: number): number {
  return connection.get<{ count: number }>('SELECT count(*) AS count FROM audit_log WHERE id > ?', after)?.count ?? 0
}

/** Rows whose id is none that SQLite gives: they were put before the first range. */
export function countPlanted(connection: SqliteConnection): number {
  return connection.get<{ count: number }>('SELECT count(*) AS count FROM audit_log WHERE id < 1')?.count ?? 0
}

/** Seals what others write into the Python bridge's audit_log: an entry of our chain names a range and its hash. */
export class ForeignRowSealer {
  readonly #writer: DatabaseWriter
  readonly #clock: Clock
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(writer: DatabaseWriter, clock: Clock) {
    this.#writer = writer
    this.#clock = clock
  }

  /** Seals what there is, when it is time to. */
  async tend(): Promise<void> {
    const now = this.#clock.now()
    if (now - this.#lookedAt < SEAL_EVERY_MS) return
    this.#lookedAt = now
    const { tables, groupCommit } = this.#writer
    while (nextRange(tables.connection) !== null) await groupCommit.write(() => sealNext(tables))
  }
}

function sealNext({ connection, chain }: Tables): void {
  const range = nextRange(connection)
  if (range === null) return // another process was first
  const { from, to } = range
  connection.run("INSERT OR REPLACE INTO s2_cursors (name, at) VALUES ('sealed', ?)", to)
  const details = { table: 'audit_log', from, to, ...hashForeignRows(connection, from, to) }
  chain.append({ actor: 'bridge', action: 'foreign_sealed', details })
}

/** The next ids to seal; they begin where the last range ended, so that no row can be put in between. */
function nextRange(connection: SqliteConnection): { from: number; to: number } | null {
  const sealed = connection.get<{ at: number }>("SELECT at FROM s2_cursors WHERE name = 'sealed'")?.at ?? 0
  const to = connection.get<{ to: number | null }>(
    `SELECT max(id) AS "to" FROM (SELECT id FROM audit_log WHERE id > ? AND id <= ${ID_MAX} ORDER BY id LIMIT +?)`,
    sealed,
    SEALED_AT_ONCE,
  )?.to
  return to === null || to === undefined ? null : { from: sealed + 1, to }
}
