import { closeSync, fsync, mkdirSync, openSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { S2Error } from '#fleet/errors.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { SqliteConnection, waitingForLock } from '../file/connection.ts'
import { demandNoTrace } from '../file/shared-rights.ts'
import { isFull, refusalOf, sqliteCode } from '../file/sqlite-errors.ts'

export interface CopyParts {
  readonly clock: Clock
  readonly chance: Chance
  /** Bytes that may still be written into a folder. */
  readonly roomIn: (folder: string) => number
}

/** How long a locked database is waited for, and how long a copy may take in all. Milliseconds. */
const LOCK_WAIT_MAX_MS = 10_000
const COPY_MAX_MS = 3_600_000
/** Bytes left free: a copy that fills the disk stops the bridge, which often writes to the same one. */
const SPARE_BYTES = 16 * 1024 * 1024

/**
 * Copies a database, to which others may be writing, into a new file without a log that its owner alone may read: all of it
 * as it was at one instant. The caller syncs it, and removes what there is of it where this throws `S2Error`.
 */
export async function copyDatabase(from: string, to: string, parts: CopyParts): Promise<void> {
  const { clock, chance } = parts
  using source = openSource(from)
  await waitingForLock(() => source.beginReading(), from, { clock, chance, boundMs: LOCK_WAIT_MAX_MS })
  demandRoom(source, from, dirname(to), parts)
  const end = clock.now() + COPY_MAX_MS
  closeSync(openSync(to, 'wx', 0o600)) // made here, so that nobody else can ever read it
  try {
    await source.copyTo(to, () => {
      if (clock.now() > end) throw tooSlow(from)
    })
    source.rollback()
    using copy = new SqliteConnection(to, { create: false })
    copy.pragma('synchronous = OFF') // a file without a name of its own yet is synced once, by whoever names it
    copy.pragma('journal_mode = DELETE') // one file, which can be read wherever it is put
  } catch (error) {
    throw copyRefusal(error, from, dirname(to))
  }
}

function openSource(path: string): SqliteConnection {
  try {
    demandNoTrace({ path, folder: dirname(path) })
    return new SqliteConnection(path, { create: false })
  } catch (error) {
    throw refusalOf(error, path)
  }
}

/** Makes a file's content, or a folder's names, durable. Not for an open database: closing the file would drop its locks. */
export async function sync(path: string): Promise<void> {
  const handle = openSync(path, 'r')
  try {
    await promisify(fsync)(handle)
  } finally {
    closeSync(handle)
  }
}

/** Makes a folder with all above it that are missing, readable by its owner alone, and their names durable. */
export async function makeFolder(folder: string): Promise<void> {
  // One that lies there may have been made by a life that was killed before it had synced its name.
  const first = mkdirSync(folder, { recursive: true, mode: 0o700 }) ?? folder
  for (let made = folder; made.length >= first.length; made = dirname(made)) {
    await sync(dirname(made)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EACCES') throw error // who may not read a folder has not made what is in it
    })
  }
}

/** Removes drafts of copies that were not finished: those that nobody has written to for an hour. */
export function removeLeftDrafts(folder: string, isDraft: RegExp, now: number): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const draft = isDraft.test(name) ? statSync(path, { throwIfNoEntry: false }) : undefined
    if (draft !== undefined && now - draft.mtimeMs > COPY_MAX_MS) rmSync(path, { force: true })
  }
}

export function roomIn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

function demandRoom(source: SqliteConnection, path: string, folder: string, { roomIn }: CopyParts): void {
  const bytes = Number(source.pragma('page_count')) * Number(source.pragma('page_size'))
  const room = roomIn(folder)
  if (bytes + SPARE_BYTES <= room) return
  const [wanted, found] = [bytes + SPARE_BYTES, room].map((each) => `${Math.ceil(each / 1_000_000)} MB`)
  throw new S2Error('unavailable', `a copy of ${path} wants ${wanted} free in ${folder}, where ${found} are`, {
    next: 'make room, or name a folder on another disk (S2_BACKUPS); nothing was changed',
  })
}

function copyRefusal(error: unknown, from: string, folder: string): S2Error {
  if (isFull(error)) {
    return new S2Error('unavailable', `the disk that holds ${folder} is full`, {
      next: 'make room there, or name a folder on another disk (S2_BACKUPS); nothing was changed',
      cause: error,
    })
  }
  return refusalOf(error, /CORRUPT|NOTADB/.test(sqliteCode(error) ?? '') ? from : folder)
}

function tooSlow(path: string): S2Error {
  return new S2Error('unavailable', `the copy of ${path} was not done within an hour`, {
    next: 'look at the disk, and at what else is busy on it; nothing was changed',
  })
}
