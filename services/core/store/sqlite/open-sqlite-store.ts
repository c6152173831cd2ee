import { chmodSync, statSync } from 'node:fs'
import { S2Error } from '#fleet/errors.ts'
import type { Store, StoreParts } from '../store.ts'
import { heldBeside, setLogAside } from './backup/held-copy.ts'
import { keepEarlier } from './backup/keep-earlier.ts'
import { ReopeningReader } from './changes/reopening-reader.ts'
import { LOCK_WAIT_MS } from './database-writer.ts'
import { prepare, SqliteConnection, waitingForLock } from './file/connection.ts'
import { DatabaseFiles } from './file/database-files.ts'
import {
  type DatabasePath,
  databasePathOf,
  demandLocalDisk,
  identify,
  logBytes,
  makeDatabasePath,
} from './file/database-path.ts'
import { demandCommonTmp } from './file/private-tmp.ts'
import { earlierSchema, inspectSchema, migrate } from './file/schema.ts'
import { newFileMode } from './file/shared-rights.ts'
import { corrupt, refusalOf } from './file/sqlite-errors.ts'
import { FileGuard } from './file-guard.ts'
import { PythonReaders } from './python/python-readers.ts'
import { makeStore, type TablesAccess } from './sqlite-store.ts'
import { MalformedRows } from './tables/malformed-rows.ts'
import { openTables, type Tables, type TablesSource } from './tables/tables.ts'

/** What the slowest of disks reads or writes in a millisecond, bytes. */
const BYTES_PER_MS_LEAST = 2_000

/**
 * Opens the fleet in a SQLite database that the Python bridge may share. In mode `write` the file is made and brought up to
 * date where needed, and refused where it is not ours to write. Mode `read` makes and writes nothing, refuses verbs that
 * write, and waits for a database that is not there yet; it wants the right to write all the same, for readers of a
 * write-ahead log share their locks through a file beside it. Throws `S2Error`: `invalid` (no database of ours),
 * `forbidden`, `unavailable`.
 */
export async function openSqliteStore(
  path: string,
  parts: StoreParts,
  mode: 'write' | 'read' = 'write',
): Promise<Store & TablesAccess> {
  const malformed = new MalformedRows(parts.log, parts.malformedRows)
  if (mode === 'write') {
    const databasePath = await makeDatabasePath(path)
    const pythonReaders = new PythonReaders()
    const source = await openForWriting(databasePath, parts, malformed, pythonReaders)
    return await beginStore(databasePath, parts, source, malformed, pythonReaders)
  }
  const databasePath = await databasePathOf(path)
  demandCommonTmp(databasePath.path)
  if (identify(databasePath.folder) !== null) demandLocalDisk(databasePath)
  const reader = new ReopeningReader(databasePath.path, parts, malformed)
  await waitingForLock(() => reader.open(), databasePath.path, { ...parts, boundMs: LOCK_WAIT_MS })
  return makeStore(databasePath, parts, reader, malformed, new PythonReaders(), mode)
}

async function beginStore(
  databasePath: DatabasePath,
  parts: StoreParts,
  source: TablesSource,
  malformed: MalformedRows,
  pythonReaders: PythonReaders,
): Promise<Store & TablesAccess> {
  let opened: Disposable | AsyncDisposable = source
  try {
    const store = makeStore(databasePath, parts, source, malformed, pythonReaders, 'write')
    opened = store
    await store.begin()
    return store
  } catch (error) {
    if (Symbol.asyncDispose in opened) await opened[Symbol.asyncDispose]()
    else opened[Symbol.dispose]()
    throw refusalOf(error, databasePath.path)
  }
}

async function openForWriting(
  { path, folder }: DatabasePath,
  parts: StoreParts,
  malformed: MalformedRows,
  pythonReaders: PythonReaders,
): Promise<TablesSource> {
  const isNew = identify(path) === null
  const [held] = isNew ? heldBeside(path) : []
  if (held !== undefined) throw lostDatabase(path, held)
  if (isNew && logBytes(path) > 0) throw orphanedLog(path)
  if (!isNew) await tellOfDoomedLog(path, parts)
  const retry = <T>(act: () => T): Promise<T> => waitingForLock(act, path, { ...parts, boundMs: LOCK_WAIT_MS })
  const connection = await retry(() => new SqliteConnection(path, { create: true }))
  try {
    if (isNew) chmodSync(path, newFileMode(folder))
    const main = identify(path)
    if (main === null)
      throw new S2Error('unavailable', `${path} was removed while it was opened`, { next: 'try again' })
    const contents = await retry(() => inspectSchema(connection, path))
    const [kept] = contents === 'nothing' ? heldBeside(path) : []
    if (kept !== undefined) throw emptiedDatabase(path, kept)
    const tellLong = (what: string): void => parts.onLong?.(what, bytesOf(path) / BYTES_PER_MS_LEAST)
    tellLong('checking the database')
    await retry(() => checkQuickly(connection, path))
    await retry(() => prepare(connection, 'FULL', 'make'))
    await retry(() => connection.begin())
    await bringUpToDate(connection, path, parts, tellLong)
    const files = new DatabaseFiles(path, main, { keepsPages: true })
    // a checkpoint that a process left half done would hide later changes of the file, and so would a log that was read anew
    if (files.isCheckpointUnderWay()) await retry(() => connection.get('PRAGMA wal_checkpoint(PASSIVE)'))
    const tables = openTables(connection, main, parts.clock, malformed, pythonReaders)
    if (isNew) parts.log.info('database made', { database: path })
    return guardedTables(tables, new FileGuard(path, files, connection, parts, 'write'))
  } catch (error) {
    if (connection.hasMetDamage)
      connection.abandon() // a close would write the log into the file, whatever is wrong with it
    else connection[Symbol.dispose]()
    throw error
  }
}

function guardedTables(tables: Tables, guard: FileGuard): TablesSource {
  return {
    current: () => (guard.glance() === null ? tables : null),
    get held() {
      return guard.refusal === null ? tables : null
    },
    demand: () => {
      const refusal = guard.glance()
      if (refusal !== null) throw refusal
      return tables
    },
    look: () => guard.look(),
    settle: () => guard.settle(),
    [Symbol.dispose]: () => guard[Symbol.dispose](),
  }
}

/** Ends the write transaction that the caller began: what an earlier version left is copied first, then its tables are changed. */
async function bringUpToDate(
  connection: SqliteConnection,
  path: string,
  parts: StoreParts,
  tellLong: (what: string) => void,
): Promise<void> {
  try {
    const schema = earlierSchema(connection, path)
    if (schema !== null) {
      tellLong('copying the database before its tables change')
      const copy = await keepEarlier(path, schema, parts)
      parts.log.info('database copied before its tables change', { database: path, schema, copy })
    }
    migrate(connection, path, parts.clock.wall(), (step) => tellLong(`changing tables: ${step}`))
    connection.commit()
  } catch (error) {
    connection.rollback()
    throw refusalOf(error, path)
  }
}

/** Keeps a copy of a log that SQLite is about to throw away, and tells of it. */
async function tellOfDoomedLog(path: string, { clock, log }: StoreParts): Promise<void> {
  const kept = await setLogAside(path, clock).catch((error: unknown) => {
    throw refusalOf(error, path)
  })
  if (kept === null) return
  log.error('log of the database set aside', {
    path,
    log: kept,
    next: `${path}-wal was written over while nobody looked, and what was sent last may be missing; then move ${kept} away`,
  })
}

/** The refusal of a log without its database: SQLite would throw it away, and with it what was committed last. */
function orphanedLog(path: string): S2Error {
  return new S2Error('unavailable', `${path} is missing, but its log ${path}-wal is there and may hold messages`, {
    next: `put ${path} back; or, to begin with nothing, move ${path}-wal and ${path}-shm away`,
  })
}

/** The refusal to begin with nothing where a program kept what the database held when it was removed. */
function lostDatabase(path: string, held: string): S2Error {
  const wayBack = held.startsWith(`${path}.held-`) ? `mv ${held} ${path}` : 's2 restore --latest'
  return new S2Error('unavailable', `${path} is missing, and what S2 held when it was removed is in ${held}`, {
    next: `${wayBack} puts it back; to begin with nothing, move ${held} away`,
  })
}

/** The same where all that there was of the database lay in a log that is gone. */
function emptiedDatabase(path: string, held: string): S2Error {
  return new S2Error('unavailable', `${path} holds nothing any more, and what S2 held of it is in ${held}`, {
    next: `s2 restore ${held} puts it back; to begin with nothing, move ${held} away`,
  })
}

function bytesOf(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) + logBytes(path)
}

function checkQuickly(connection: SqliteConnection, path: string): void {
  const found = connection.pragma('quick_check(1)')
  if (found !== 'ok') throw corrupt(path, found)
}
