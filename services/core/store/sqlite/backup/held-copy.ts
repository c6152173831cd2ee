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
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import { SqliteConnection } from '../file/connection.ts'
import { type DatabaseFiles, descriptorOf, type FileDoubt } from '../file/database-files.ts'
import { type FileIdentity, identify, identityOf, isSameFile, logBytes } from '../file/database-path.ts'
import { isLogReadable } from '../file/log-header.ts'
import { isBusy, refusalOf } from '../file/sqlite-errors.ts'
import { stampOf } from './backup.ts'
import { removeLeftDrafts } from './copy-database.ts'

/** Time for a program that writes over the files to come to its end, milliseconds. */
const WRITTEN_MS = 250
/** A log that is no longer holds no frame, bytes. */
const LOG_HEADER = 32
const COPY_BYTES = 1024 * 1024

/** What became of the content of a database whose files were taken away or written over while it was open. */
export interface Held {
  /** Its log, where it lies in its place again: the next process that opens the database finds all in it. */
  readonly putBack: PutBackLog | null
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
  let log: string | null = null
  try {
    if (doubt === 'set_back') await clock.sleep(WRITTEN_MS) // others may be in the middle of writing over the files
    if (isOfLogAlone(doubt) && files.logContent?.hasSeen !== true) throw new Error('it was so when S2 opened it')
    const ending = endingOf(doubt, files, clock)
    const copy = `${path}.${ending}`
    const putBack = doubt === 'log_removed' ? putLogBack(path, ending, files, connection) : null
    if (putBack !== null) return { putBack, copy: null, log: null, fault: null }
    if (identify(copy) !== null) return { putBack: null, copy, log: null, fault: null }
    log = keepLog(path, `${path}-wal.${ending}`, doubt, files)
    const fault = await copyAll(path, copy, doubt, files, connection, clock)
    if (fault !== null) return { putBack: null, copy, log, fault }
    if (log !== null) rmSync(log, { force: true })
    return { putBack: null, copy, log: null, fault: null }
  } catch (error) {
    return { putBack: null, copy: null, log, fault: wordsOf(error, path) }
  }
}

function wordsOf(error: unknown, path: string): string {
  const refusal = refusalOf(error, path)
  return refusal.code === 'internal' && error instanceof Error ? error.message : refusal.message
}

/** The content of the log was changed, so that what it held is only in the memory of the programs that read it before. */
export function isOfLogAlone(doubt: FileDoubt): boolean {
  return doubt === 'log_overwritten' || doubt === 'set_back'
}

/**
 * How the names of what is kept end: alike for all programs that had the same log open, and never again for another log. Of a
 * log that was written over each program has what it saw of it.
 */
function endingOf(doubt: FileDoubt, { main, log, logContent }: DatabaseFiles, clock: Clock): string {
  const ending = endingOfFile(log ?? main, clock)
  return isOfLogAlone(doubt) ? `${ending}-${logContent?.frames ?? 0}` : ending
}

function endingOfFile({ inode, bornAt }: FileIdentity, clock: Clock): string {
  const hasBirth = bornAt > 0 // some file systems keep none, and file numbers come again
  return `held-${stampOf(hasBirth ? bornAt : clock.wall())}-${inode}`
}

/**
 * Copies the log of a database that is to be opened where SQLite would throw it away, for what was committed last may be in it.
 * Answers the name of the copy; null where there is nothing to be copied, or a program did so when it was written over.
 */
export async function setLogAside(path: string, clock: Clock): Promise<string | null> {
  if (logBytes(path) <= LOG_HEADER) return null
  const descriptor = openThere(`${path}-wal`)
  if (descriptor === null) return null
  try {
    if (isLogReadable(descriptor)) return null
    await clock.sleep(WRITTEN_MS) // another process may be in the middle of beginning it anew
    if (isLogReadable(descriptor) || fstatSync(descriptor).size <= LOG_HEADER) return null
    const ending = endingOfFile(identityOf(fstatSync(descriptor)), clock)
    const isKept = heldBeside(path).some((each) => each.includes(`.${ending}`))
    if (isKept) return null
    const kept = `${path}-wal.${ending}`
    copyLog(descriptor, kept)
    syncNow(dirname(path))
    return kept
  } finally {
    closeSync(descriptor)
  }
}

/** Null where there is no such file: another process that was the last to close the database has just removed its log. */
function openThere(path: string): number | null {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Null where another log has the name by now, or where another program of S2 set this one aside. */
function putLogBack(
  path: string,
  ending: string,
  { main, log }: DatabaseFiles,
  connection: SqliteConnection,
): PutBackLog | null {
  const place = `${path}-wal`
  if (log === null || [place, path].some((each) => identify(`${each}.${ending}`) !== null)) return null
  holdWriteLock(connection)
  if (!isSameFile(identify(place), log)) {
    const descriptor = descriptorOf(log)
    if (descriptor === null) throw gone()
    if (!putInPlace(path, descriptor)) return null
  } // else only the index was removed, and that is made again from the log
  const descriptor = openThere(place)
  return descriptor === null ? null : new PutBackLog(path, main, descriptor)
}

/** Puts a log where there is none. Answers false where there is one that does not begin with it. */
function putInPlace(path: string, descriptor: number): boolean {
  const place = `${path}-wal`
  const draft = `${place}.back-${process.pid}`
  rmSync(draft, { force: true })
  try {
    copyLog(descriptor, draft)
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

/**
 * A log that was put back. Should it be removed again, it goes back with all that others wrote into it meanwhile: none of them
 * is the last to close the database while the connection that was abandoned is open, so no checkpoint removes it.
 */
export class PutBackLog {
  readonly #path: string
  readonly #main: FileIdentity
  /** SQLite has no locks on a log, so it may be opened and closed here. */
  readonly #descriptor: number

  constructor(path: string, main: FileIdentity, descriptor: number) {
    this.#path = path
    this.#main = main
    this.#descriptor = descriptor
  }

  /** Puts it back again where it was removed. Answers false where another log, or another database, has its place by now. */
  stay(): boolean {
    if (!isSameFile(identify(this.#path), this.#main)) return false
    const there = identify(`${this.#path}-wal`)
    if (there !== null) return isSameFile(there, identityOf(fstatSync(this.#descriptor)))
    return putInPlace(this.#path, this.#descriptor)
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
  else copyLogOf(log, kept)
  if (isMainGone && isSameFile(identify(`${path}-shm`), index)) rmSync(`${path}-shm`)
  syncNow(dirname(path))
  return kept
}

/** Copies a log that this process has open and that may have no name any more. */
function copyLogOf(log: FileIdentity, to: string): void {
  const descriptor = descriptorOf(log)
  if (descriptor === null) throw gone()
  copyLog(descriptor, to)
}

function gone(): Error {
  return new Error('the log that was removed cannot be read in /proc')
}

/** SQLite keeps no locks on a log, so it may be read. */
function copyLog(descriptor: number, to: string): void {
  copyFileSync(`/proc/self/fd/${descriptor}`, to, constants.COPYFILE_EXCL)
  takeOwnership(to, descriptor)
  syncNow(to)
}

/** Copies the whole database and checks it. Answers what the check found wrong; null where it is sound. */
async function copyAll(
  path: string,
  copy: string,
  doubt: FileDoubt,
  files: DatabaseFiles,
  connection: SqliteConnection,
  clock: Clock,
): Promise<string | null> {
  const draft = `${path}.holding-${process.pid}`
  try {
    removeLeftDrafts(dirname(path), /(\.holding|-wal\.back)-\d+(-journal)?$/, clock.wall())
    closeSync(openSync(draft, 'wx', 0o600)) // made here, so that nobody else can ever read it
    await fill(draft, doubt, files, connection)
    const fault = checkAlone(draft)
    const descriptor = descriptorOf(files.main)
    if (descriptor !== null) takeOwnership(draft, descriptor)
    syncNow(draft)
    linkUnlessThere(draft, copy)
    syncNow(dirname(path))
    return fault
  } finally {
    for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(`${draft}${suffix}`, { force: true })
  }
}

/**
 * Over a main file that is as it was goes what was seen in the log. Where an earlier state was put back, it is the state of
 * which the log that was seen is the continuation, or nearly so: the check tells.
 */
async function fill(
  draft: string,
  doubt: FileDoubt,
  files: DatabaseFiles,
  connection: SqliteConnection,
): Promise<void> {
  if (doubt === 'log_overwritten' && files.logContent?.hasPages === true) await copyMain(files.main, draft)
  else await copyByConnection(draft, connection)
  if (!isOfLogAlone(doubt)) return
  const descriptor = openSync(draft, 'r+')
  try {
    files.logContent?.writeOver(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

async function copyByConnection(draft: string, connection: SqliteConnection): Promise<void> {
  connection.rollback()
  connection.beginReading()
  await connection.copyTo(draft, () => undefined)
}

/** By the descriptor that SQLite has: to open and close the file here would drop its locks. */
async function copyMain(main: FileIdentity, draft: string): Promise<void> {
  const from = descriptorOf(main)
  if (from === null) throw new Error('the database cannot be read in /proc')
  const to = openSync(draft, 'r+')
  try {
    const chunk = Buffer.allocUnsafe(COPY_BYTES)
    for (let at = 0, length = 0; ; at += length) {
      length = readSync(from, chunk, 0, chunk.length, at)
      if (length === 0) return
      writeSync(to, chunk, 0, length, at)
      await yieldToEvents()
    }
  } finally {
    closeSync(to)
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
