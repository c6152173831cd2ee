import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { SqliteConnection } from '../file/connection.ts'
import { type DatabaseFiles, descriptorOf, type FileDoubt } from '../file/database-files.ts'
import { type FileIdentity, identify, isSameFile } from '../file/database-path.ts'
import { isBusy, refusalOf } from '../file/sqlite-errors.ts'
import { stampOf } from './backup.ts'
import { removeLeftDrafts } from './copy-database.ts'

/** What became of the content of a database whose files were taken away or written over while it was open. */
export interface Held {
  /** Its log lies in its place again, and the next process that opens the database finds all in it. */
  readonly isPutBack: boolean
  /** A whole database in one file; null where none could be made. */
  readonly copy: string | null
  /** The log alone, kept where there is no sound copy. */
  readonly log: string | null
  /** What is wrong with the copy, or why there is none. */
  readonly fault: string | null
}

/** Copies of a database that programs held when its files went away, newest first; after them logs of it. */
export function heldBeside(path: string): string[] {
  const [folder, name] = [dirname(path), basename(path)]
  return namesIn(folder)
    .filter((each) => each.startsWith(`${name}.held-`) || each.startsWith(`${name}-wal.held-`))
    .sort((one, other) => (one < other ? 1 : -1)) // a dash sorts before a dot
    .map((each) => join(folder, each))
}

/**
 * Keeps what an open connection still holds: a log that was only removed goes back to its place; otherwise all of the database
 * is copied beside it, and its log is taken from there, so that nobody mixes it with another file of that name. Every program of
 * S2 that has the database open does this; the first one's is kept. Never throws. The connection is to be abandoned after it.
 */
export async function keepHeld(
  path: string,
  doubt: FileDoubt,
  files: DatabaseFiles,
  connection: SqliteConnection,
  clock: Clock,
): Promise<Held> {
  let log: string | null = null
  try {
    if (doubt === 'log_removed' && putLogBack(path, files.log, connection)) {
      return { isPutBack: true, copy: null, log: null, fault: null }
    }
    const mark = (files.log ?? files.main).inode
    const [earlier] = heldBeside(path).filter((each) => each.endsWith(`-${mark}`) && each.startsWith(`${path}.held-`))
    if (earlier !== undefined) return { isPutBack: false, copy: earlier, log: null, fault: null }
    const ending = `held-${stampOf(clock.wall())}-${mark}`
    log = keepLog(path, `${path}-wal.${ending}`, files)
    if (!doubt.startsWith('log_')) removeIndex(path, files.index)
    const fault = await copyAll(path, `${path}.${ending}`, files, connection, clock)
    if (fault !== null || log === null) return { isPutBack: false, copy: `${path}.${ending}`, log, fault }
    rmSync(log, { force: true })
    return { isPutBack: false, copy: `${path}.${ending}`, log: null, fault: null }
  } catch (error) {
    return { isPutBack: false, copy: null, log, fault: refusalOf(error, path).message }
  }
}

/** Answers false where another log has the name by now, or where another program of S2 set this one aside. */
function putLogBack(path: string, log: FileIdentity | null, connection: SqliteConnection): boolean {
  const place = `${path}-wal`
  if (log === null) return false
  holdWriteLock(connection)
  if (isSameFile(identify(place), log)) return true // only the index was removed, and that is made again from the log
  if (heldBeside(path).some((each) => isSameFile(identify(each), log))) return false
  const draft = `${place}.back-${process.pid}`
  try {
    copyLog(log, draft)
    linkSync(draft, place) // fails where another one has made a log meanwhile
    syncNow(dirname(path))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const own = readFileSync(draft) // another program of S2 may have put the same log back, and others have gone on in it
    return readFileSync(place).subarray(0, own.length).equals(own)
  } finally {
    rmSync(draft, { force: true })
  }
}

/** Keeps others that have the removed log open from committing to it: this transaction ends with the process. */
function holdWriteLock(connection: SqliteConnection): void {
  try {
    connection.begin()
  } catch (error) {
    if (!isBusy(error)) throw error // busy: another program of S2 does the same
  }
}

/** Keeps the log under another name; null where it is empty. */
function keepLog(path: string, kept: string, { log }: DatabaseFiles): string | null {
  if (log === null) return null
  const place = `${path}-wal`
  if (isSameFile(identify(place), log)) renameSync(place, kept)
  else copyLog(log, kept)
  syncNow(dirname(path))
  return kept
}

/** The index of a log that was taken away: nobody may find it beside another log. */
function removeIndex(path: string, index: FileIdentity | null): void {
  if (index !== null && isSameFile(identify(`${path}-shm`), index)) rmSync(`${path}-shm`, { force: true })
}

/** Copies a log that this process has open and that may have no name any more. SQLite keeps no locks on it, so it may be read. */
function copyLog(log: FileIdentity, to: string): void {
  const descriptor = descriptorOf(log)
  if (descriptor === null) throw new Error('the log that was removed cannot be read in /proc')
  copyFileSync(`/proc/self/fd/${descriptor}`, to, constants.COPYFILE_EXCL)
  takeOwnership(to, descriptor)
  syncNow(to)
}

/** Copies the whole database and checks it. Answers what the check found wrong; null where it is sound. */
async function copyAll(
  path: string,
  copy: string,
  files: DatabaseFiles,
  connection: SqliteConnection,
  clock: Clock,
): Promise<string | null> {
  const draft = `${path}.holding-${process.pid}`
  try {
    removeLeftDrafts(dirname(path), /\.holding-\d+(-journal)?$/, clock.wall())
    closeSync(openSync(draft, 'wx', 0o600)) // made here, so that nobody else can ever read it
    connection.rollback()
    connection.beginReading()
    await connection.copyTo(draft, () => undefined)
    const fault = checkAlone(draft)
    const descriptor = descriptorOf(files.main)
    if (descriptor !== null) takeOwnership(draft, descriptor)
    syncNow(draft)
    renameSync(draft, copy)
    syncNow(dirname(path))
    return fault
  } finally {
    for (const left of [draft, `${draft}-journal`]) rmSync(left, { force: true })
  }
}

function checkAlone(path: string): string | null {
  try {
    using connection = new SqliteConnection(path, { create: false })
    connection.pragma('journal_mode = DELETE') // one file, which can be read wherever it is put
    const found = connection.pragma('integrity_check(1)')
    return found === 'ok' ? null : String(found)
  } catch (error) {
    return refusalOf(error, path).message
  }
}

/** Gives a file the owner and mode of one that is open. */
function takeOwnership(path: string, descriptor: number): void {
  const { uid, gid, mode } = fstatSync(descriptor)
  const own = statSync(path)
  if (own.uid !== uid || own.gid !== gid) chownSync(path, uid, gid)
  chmodSync(path, mode & 0o666)
}

function syncNow(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
