import type { SqliteConnection } from '../file/connection.ts'
import { baseOf, headOf } from '../tables/audit-chain.ts'

/** How far a database has come: the highest id that a message was given, and the last entry of the audit chain. */
export interface HistoryMark {
  readonly message: number
  readonly entry: number
  readonly hash: string
}

/**
 * In what a database does not go on from a mark: an earlier state of it was put back (`chain`), or its messages get ids again
 * that others were given before (`ids`).
 */
export type StepBack = 'chain' | 'ids'

/** A mark that is kept outside of the database: of which one it is (`storeIdOf`). */
export interface KeptMark extends HistoryMark {
  readonly store: string
}

/** Every database goes on from it. */
export const ORIGIN: HistoryMark = { message: 0, entry: 0, hash: '' }

/** Ids from here on are chosen by foreign writers, and no host takes their messages: they say nothing of how far S2 has come. */
export const IDS_END = 2 ** 40

/** The table of sequences remembers the ids of rows that were removed. */
const LAST_ID = `
  SELECT max(
    coalesce((SELECT max(seq) FROM sqlite_sequence
      WHERE name = 'messages' AND typeof(seq) = 'integer' AND seq < ${IDS_END}), 0),
    coalesce((SELECT max(id) FROM messages WHERE id < ${IDS_END}), 0)) AS id`

export function markOf(connection: SqliteConnection): HistoryMark {
  const { seq: entry, hash } = headOf(connection)
  return { message: lastIdOf(connection), entry, hash }
}

export function lastIdOf(connection: SqliteConnection): number {
  return connection.get<{ id: number }>(LAST_ID)?.id ?? 0
}

/** Up to which message S2 has looked for tasks: it says of itself, in the database, how far that had come. */
export function lookedUpTo(connection: SqliteConnection): number {
  const at = connection.get<{ at: number }>("SELECT at FROM s2_cursors WHERE name = 'letters'")?.at ?? 0
  return at < IDS_END ? at : 0
}

/** Whether a database goes on from a mark; null where it does. */
export function stepBackFrom(connection: SqliteConnection, mark: HistoryMark): StepBack | null {
  if (!hasEntry(connection, mark)) return 'chain'
  return lastIdOf(connection) < mark.message ? 'ids' : null
}

/** Entries that are sealed into files count as those that they were: their end is in the database. */
function hasEntry(connection: SqliteConnection, { entry, hash }: HistoryMark): boolean {
  if (entry === 0) return true
  const found = connection.get<{ hash: string }>('SELECT hash FROM s2_audit WHERE seq = ?', entry)
  if (found !== undefined) return found.hash === hash
  const base = baseOf(connection)
  return base.seq === entry ? base.hash === hash : base.seq > entry
}
