import { chmodSync, readdirSync, renameSync, rmSync, statSync, unlinkSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { ensureDurableFolder, syncPath } from '#runtime/durable-folder.ts'
import { databasePathOf, identify } from '../file/database-path.ts'
import { type CopyParts, copyDatabase, removeLeftDrafts } from './copy-database.ts'
import { checkFile, checkPages, type IntegrityReport } from './integrity-check.ts'

export interface BackupOrder {
  /** The message database. */
  readonly database: string
  /** The folder of the backups. */
  readonly folder: string
  /** Whether the beats are copied too: nothing needs them after a restore, but they help to find out what happened. */
  readonly beats: 'too' | 'not'
  /** How many are kept, and how old they may get. The new one is always kept. */
  readonly keep: number
  readonly keepForMs: number
}

/** One backup in the folder. */
export interface Backup {
  readonly path: string
  /** Milliseconds since 1970, by its name. */
  readonly madeAt: number
  readonly bytes: number
  /** The copy of the beats beside it. */
  readonly beats: string | null
}

export interface MadeBackup extends Backup {
  readonly proof: IntegrityReport
  /** Paths of those that were not to be kept any longer. */
  readonly removed: readonly string[]
}

/** The ending of a copy's name until it was checked. */
const DRAFT = '.draft'

/**
 * Makes a backup while others write to the database, and then removes old backups. The backup gets its name only when it is
 * on the disk and was checked as a whole, so every file of such a name is good. Throws `S2Error`; older backups are kept
 * then.
 */
export async function makeBackup(order: BackupOrder, parts: CopyParts): Promise<MadeBackup> {
  const { path: database, liveness } = await databasePathOf(order.database)
  if (identify(database) === null) {
    throw new S2Error('not_found', `there is no database ${database} to back up`, {
      next: 'name it in S2_STORE=sqlite:/path, or start the bridge that makes it',
    })
  }
  const folder = await openFolder(order.folder, parts.clock.wall())
  const madeAt = parts.clock.wall()
  const path = join(folder, `${stemOf(database)}-${stampOf(madeAt)}.db`)
  const beats = order.beats === 'too' && identify(liveness) !== null ? beatsBeside(path) : null
  if (beats !== null) await copyAs(beats, liveness, checkPages, parts)
  const proof = await copyAs(path, database, checkFile, parts)
  await syncPath(folder)
  const made = { path, madeAt, bytes: statSync(path).size, beats }
  return { ...made, proof, removed: await removeOld(order, made, parts.clock.wall()) }
}

/** When a backup was made: its name says so, or else the time of its last change. Null where there is no such file. */
export function madeAtOf(path: string): number | null {
  const file = statSync(path, { throwIfNoEntry: false })
  const stamp = /-(\d{8}T\d{6}\.\d{3}Z)\.db$/.exec(path)?.[1]
  return file === undefined ? null : (momentOf(stamp) ?? Math.floor(file.mtimeMs))
}

/** The backups of a database in a folder, newest first. */
export function listBackups(folder: string, database: string): Backup[] {
  const names = new Set(namesIn(folder))
  const pattern = new RegExp(`^${RegExp.escape(stemOf(database))}-(\\d{8}T\\d{6}\\.\\d{3}Z)\\.db$`)
  return [...names]
    .flatMap((name) => {
      const madeAt = momentOf(pattern.exec(name)?.[1])
      if (madeAt === null) return []
      const path = join(folder, name)
      const beats = beatsBeside(path)
      const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
      return [{ path, madeAt, bytes, beats: names.has(basename(beats)) ? beats : null }]
    })
    .sort((one, other) => other.madeAt - one.madeAt)
}

/** Copies under a draft's name, checks the draft, and gives it its own name. */
async function copyAs<T>(path: string, from: string, check: (draft: string) => T, parts: CopyParts): Promise<T> {
  const draft = `${path}${DRAFT}`
  try {
    await copyDatabase(from, draft, parts)
    const proof = checkCopy(draft, from, check)
    await syncPath(draft)
    renameSync(draft, path)
    return proof
  } catch (error) {
    throw error instanceof S2Error ? error : refused(path, error)
  } finally {
    for (const left of [draft, `${draft}-journal`]) rmSync(left, { force: true })
  }
}

/** Checks a copy; what is wrong with it is wrong with the database that it was copied from. */
function checkCopy<T>(draft: string, from: string, check: (draft: string) => T): T {
  try {
    return check(draft)
  } catch (error) {
    if (!(error instanceof S2Error)) throw error
    throw new S2Error(error.code, `no backup was made: ${error.message.replaceAll(draft, from)}`, {
      next: 'older backups are as they were; `s2 restore --latest` goes back to the newest',
      cause: error,
    })
  }
}

/** Removes backups beyond the number or the age; the beats first, so that none is left without its messages. */
async function removeOld({ database, folder, keep, keepForMs }: BackupOrder, made: Backup, now: number) {
  const others = listBackups(folder, database).filter(({ path }) => path !== made.path)
  const gone = others.filter(({ madeAt }, index) => index + 1 >= keep || now - madeAt > keepForMs)
  const removed = gone.flatMap(({ path, beats }) => (beats === null ? [path] : [beats, path]))
  try {
    for (const path of removed) unlinkSync(path)
  } catch (error) {
    throw new S2Error('forbidden', `${made.path} is made, but older backups cannot be removed`, {
      next: `let this user write ${folder} and all in it`,
      cause: error,
    })
  }
  if (removed.length > 0) await syncPath(folder)
  return removed
}

/** Makes the folder, readable by its owner alone, and removes drafts of copies that were not finished. */
async function openFolder(folder: string, now: number): Promise<string> {
  const path = resolve(folder)
  try {
    await ensureDurableFolder(path)
    chmodSync(path, 0o700)
    removeLeftDrafts(path, /\.draft(-journal)?$/, now)
  } catch (error) {
    throw refused(path, error)
  }
  return path
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw refused(folder, error)
  }
}

function refused(path: string, error: unknown): S2Error {
  return new S2Error('forbidden', `backups cannot be kept at ${path}: ${(error as Error).message}`, {
    next: 'let this user own that folder, or name another one (S2_BACKUPS); older backups are as they were',
    cause: error,
  })
}

function beatsBeside(path: string): string {
  return path.replace(/\.db$/, '-liveness.db')
}

function stemOf(database: string): string {
  return basename(database).replace(/\.db$/, '')
}

/** ISO 8601 in its basic form, to the millisecond: names sort by time, and no two are alike. */
export function stampOf(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]/g, '')
}

function momentOf(stamp: string | undefined): number | null {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3})Z$/.exec(stamp ?? '')
  if (parts === null) return null
  const [, year, month, day, hour, minute, second] = parts
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  return Number.isNaN(ms) ? null : ms
}
