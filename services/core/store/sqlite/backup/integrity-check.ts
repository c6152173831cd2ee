import { statSync } from 'node:fs'
import type { ChainHead } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import { SqliteConnection } from '../file/connection.ts'
import { identify, logBytes } from '../file/database-path.ts'
import { inspectSchema, versionOf } from '../file/schema.ts'
import { corrupt, refusalOf } from '../file/sqlite-errors.ts'
import { proveChain } from '../tables/audit-chain.ts'

/** What the check of a whole message database found. */
export interface IntegrityReport {
  /** The number of its schema; 0 where it has only the Python bridge's tables. */
  readonly schema: number
  readonly rows: { readonly conversations: number; readonly messages: number; readonly tasks: number }
  /** The end of its audit chain; null where there is none. */
  readonly head: ChainHead | null
}

/**
 * Checks all of an open database: every page, every index, every entry of the audit chain. Throws `S2Error`: `invalid` (not
 * a database of S2, or of a newer one), `unavailable` (damaged, or altered).
 */
export function checkIntegrity(connection: SqliteConnection, path: string): IntegrityReport {
  const contents = inspectSchema(connection, path)
  if (contents === 'nothing') {
    throw new S2Error('invalid', `${path} holds nothing`, { next: 'name a file that `s2 backup list` shows' })
  }
  demandSound(connection, path)
  const count = (table: string): number =>
    connection.get<{ count: number }>(`SELECT count(*) AS count FROM ${table}`)?.count ?? 0
  const isOurs = contents === 'ours'
  return {
    schema: isOurs ? versionOf(connection) : 0,
    rows: {
      conversations: count('conversations'),
      messages: count('messages'),
      tasks: isOurs ? count('s2_tasks') : 0,
    },
    head: isOurs ? proveChain(connection, path) : null,
  }
}

/** The same for a file that nobody has open: a backup. Writes nothing. */
export function checkFile(path: string): IntegrityReport {
  return checkClosed(path, (connection) => checkIntegrity(connection, path))
}

/** Only that every page and index of such a file is sound, whatever it holds. */
export function checkPages(path: string): void {
  checkClosed(path, (connection) => demandSound(connection, path))
}

function checkClosed<T>(path: string, check: (connection: SqliteConnection) => T): T {
  demandFinished(path)
  try {
    using connection = new SqliteConnection(path, { create: false })
    return check(connection)
  } catch (error) {
    const { code, message } = refusalOf(error, path)
    throw new S2Error(code, message, { next: 'take another one: `s2 backup list` shows what there is', cause: error })
  }
}

function demandSound(connection: SqliteConnection, path: string): void {
  const found = connection.pragma('integrity_check(1)')
  if (found !== 'ok') throw corrupt(path, found)
}

/** Refuses what is not a file, and a file with a log beside it: some of its messages would be in the log. */
export function demandFinished(path: string): void {
  if (identify(path) === null) {
    throw new S2Error('not_found', `there is no backup ${path}`, { next: 'see `s2 backup list`' })
  }
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) {
    throw new S2Error('invalid', `${path} is not a file, and so not a backup`, { next: 'see `s2 backup list`' })
  }
  if (logBytes(path) === 0) return
  throw new S2Error(
    'invalid',
    `${path} has a log beside it, so it is a database in use or a copy of one, and not a backup`,
    {
      next: 'name a file that `s2 backup list` shows, or make one with `s2 backup`',
    },
  )
}
