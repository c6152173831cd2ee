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

/** What programs held when the files of a database went away: whole copies, newest first, and after them logs. */
export function heldBeside(path: string): string[] {
  const names = namesIn(dirname(path)).sort().reverse()
  const of = (kind: string): string[] => names.filter((each) => each.startsWith(`${basename(path)}${kind}.held-`))
  return [...of(''), ...of('-wal')].map((each) => join(dirname(path), each))
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
  const ending = endingOf(files, clock)
  const copy = `${path}.${ending}`
  let log: string | null = null
  try {
    if (doubt === 'log_removed' && putLogBack(path, ending, files.log, connection)) {
      return { isPutBack: true, copy: null, log: null, fault: null }
    }
    if (identify(copy) !== null) return { isPutBack: false, copy, log: null, fault: null }
    log = keepLog(path, `${path}-wal.${ending}`, doubt, files)
    const fault = await copyAll(path, copy, files, connection, clock)
    if (fault !== null) return { isPutBack: false, copy, log, fault }
    if (log !== null) rmSync(log, { force: true })
    return { isPutBack: false, copy, log: null, fault: null }
  } catch (error) {
    return { isPutBack: false, copy: null, log, fault: refusalOf(error, path).message }
  }
}

/** How the names of what is kept end: alike for all programs that had the same log open, and never again for another log. */
function endingOf({ main, log }: DatabaseFiles, clock: Clock): string {
  const { inode, bornAt } = log ?? main
  const hasBirth = bornAt > 0 // some file systems keep none, and file numbers come again
  return `held-${stampOf(hasBirth ? bornAt : clock.wall())}-${inode}`
}

/** Answers false where another log has the name by now, or where another program of S2 set this one aside. */
function putLogBack(path: string, ending: string, log: FileIdentity | null, connection: SqliteConnection): boolean {
  const place = `${path}-wal`
  if (log === null || [place, path].some((each) => identify(`${each}.${ending}`) !== null)) return false
  holdWriteLock(connection)
  if (isSameFile(identify(place), log)) return true // only the index was removed, and that is made again from the log
  const draft = `${place}.back-${process.pid}`
  rmSync(draft, { force: true })
  try {
    copyLog(log, draft)
    if (linkUnlessThere(draft, place)) {
      syncNow(dirname(path))
      return true
    }
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

/**
 * Keeps the log under another name; null where there is none. Where it still has its name beside another main file, it is taken
 * from there with its index: others would read it as the log of that one.
 */
function keepLog(path: string, kept: string, doubt: FileDoubt, { log, index }: DatabaseFiles): string | null {
  if (log === null || identify(kept) !== null) return null
  const isMainGone = doubt === 'removed' || doubt === 'replaced' || doubt === 'overwritten'
  if (isMainGone && isSameFile(identify(`${path}-wal`), log)) renameSync(`${path}-wal`, kept)
  else copyLog(log, kept)
  if (isMainGone && isSameFile(identify(`${path}-shm`), index)) rmSync(`${path}-shm`)
  syncNow(dirname(path))
  return kept
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
    removeLeftDrafts(dirname(path), /(\.holding|-wal\.back)-\d+(-journal)?$/, clock.wall())
    closeSync(openSync(draft, 'wx', 0o600)) // made here, so that nobody else can ever read it
    connection.rollback()
    connection.beginReading()
    await connection.copyTo(draft, () => undefined)
    const fault = checkAlone(draft)
    const descriptor = descriptorOf(files.main)
    if (descriptor !== null) takeOwnership(draft, descriptor)
    syncNow(draft)
    linkUnlessThere(draft, copy)
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

/** Gives a file the owner, group and mode of one that is open, as far as this user may. */
function takeOwnership(path: string, descriptor: number): void {
  const { uid, gid, mode } = fstatSync(descriptor)
  const own = statSync(path)
  const isOwn = own.uid === uid || process.geteuid?.() === 0
  try {
    chownSync(path, isOwn ? uid : own.uid, gid)
  } catch {
    // a group that this user is not in: the file stays in its own
  }
  chmodSync(path, mode & 0o666)
}

/** Gives a file another name; answers false where there is a file of that name. */
function linkUnlessThere(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
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
