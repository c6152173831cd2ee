import {
  closeSync,
  constants,
  createWriteStream,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs'
import { type FileHandle, mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { demandRoom, fullByCopy } from '../file/disk-room.ts'

export interface PrivateCopyParts {
  readonly clock: Clock
  readonly chance: Chance
  /** Bytes that may still be written into a folder. */
  readonly roomIn: (folder: string) => number
}

/** How long a file that is written to is tried for, and the pauses between two tries. Milliseconds. */
const TRY_MAX_MS = 10_000
const PAUSES = { firstMs: 20, mostMs: 500 }
/** Copies that are older were left by a process that was killed. */
const LEFT_MS = 3_600_000
/** The header of a write-ahead log has numbers that change whenever the log is begun anew. */
const LOG_HEADER_BYTES = 32
/** A database and what SQLite keeps of it beside it; its index of the log is made anew from the log. */
const SUFFIXES = ['', '-journal', '-wal'] as const
/** Bytes copied in one step. */
const STEP_BYTES = 1_048_576
/** A pipe that somebody put there would be waited for until something is written to it. */
const FOR_READING = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * A database as it is at one instant, in a folder that its owner alone may enter; removed with this object. Only bytes are read, so
 * that nothing changes beside the original and no lock of SQLite is wanted there: it may be another user's, or on a disk that
 * may not be written.
 */
export class PrivateCopy implements AsyncDisposable {
  readonly path: string
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
    this.path = join(folder, 'copy.db')
  }

  static async of(original: string, state: string, parts: PrivateCopyParts): Promise<PrivateCopy> {
    demandFiles(original)
    const folder = await makeCopyFolder(state, parts.clock.wall())
    const copy = new PrivateCopy(folder)
    try {
      demandRoom({ original, bytes: sizeOf(original), folder: state, setting: 'S2_STATE' }, parts.roomIn(state))
      await copyAtRest(original, copy.path, parts)
    } catch (error) {
      await copy[Symbol.asyncDispose]()
      throw refusalOf(error, original, state)
    }
    return copy
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/**
 * Copies the file first and then its log: while the file stays as it is and the log is not begun anew, what is appended to
 * the log meanwhile is either copied as a whole commit, or left out by its checksum.
 */
async function copyAtRest(from: string, to: string, { clock, chance }: PrivateCopyParts): Promise<void> {
  const start = clock.now()
  const pauses = new Pauses(PAUSES, chance)
  for (;;) {
    const before = printOf(from)
    for (const suffix of SUFFIXES) await copyIfThere(from + suffix, to + suffix, from)
    if (printOf(from) === before) return
    if (clock.now() - start > TRY_MAX_MS) throw busy(from)
    await pauses.wait(clock)
  }
}

async function copyIfThere(from: string, to: string, database: string): Promise<void> {
  await rm(to, { force: true })
  await using file = await openIfThere(from)
  if (file === null) return
  if (!(await file.stat()).isFile()) throw noFile(from, database)
  const reading = file.createReadStream({ highWaterMark: STEP_BYTES, autoClose: false })
  await pipeline(reading, createWriteStream(to, { mode: 0o600, highWaterMark: STEP_BYTES }))
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, FOR_READING)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Changes with the file, and with the log that belongs to it; not with what is appended to the log. */
function printOf(path: string): string {
  return [statOf(path), statOf(`${path}-journal`), logHeaderOf(path)].join(' ')
}

function statOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? 'none' : `${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}`
}

function logHeaderOf(database: string): string {
  const path = `${database}-wal`
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return 'none'
  const file = openSync(path, FOR_READING)
  try {
    if (!fstatSync(file).isFile()) throw noFile(path, database)
    const header = Buffer.alloc(LOG_HEADER_BYTES)
    return header.subarray(0, readSync(file, header, 0, LOG_HEADER_BYTES, 0)).toString('hex')
  } finally {
    closeSync(file)
  }
}

/** Refuses what is no plain file: the database, and what lies beside it under the names of its logs. */
function demandFiles(database: string): void {
  for (const suffix of SUFFIXES) {
    const path = database + suffix
    let isFile: boolean | undefined
    try {
      isFile = statSync(path, { throwIfNoEntry: false })?.isFile()
    } catch (error) {
      throw refusalOf(error, path, path)
    }
    if (isFile === false) throw noFile(path, database)
    if (isFile === undefined && suffix === '') {
      throw new S2Error('not_found', `there is no file ${path}`, { next: 'name the file of a database' })
    }
  }
}

function noFile(path: string, database: string): S2Error {
  const next =
    path === database
      ? 'name the file of a database'
      : `no bridge made it, so move it away: mv ${path} ${path}.away; nothing was taken from ${database}`
  return new S2Error('invalid', `${path} is not a file`, { next })
}

async function makeCopyFolder(state: string, now: number): Promise<string> {
  try {
    await mkdir(state, { recursive: true, mode: 0o700 })
    removeLeft(state, now)
    return await mkdtemp(join(state, 'importing-'))
  } catch (error) {
    throw new S2Error('forbidden', `no copy can be made in ${state}: ${(error as Error).message}`, {
      next: 'let this user write the state folder, or name another one (S2_STATE); nothing was changed',
      cause: error,
    })
  }
}

function sizeOf(original: string): number {
  return SUFFIXES.reduce((sum, suffix) => sum + (statSync(original + suffix, { throwIfNoEntry: false })?.size ?? 0), 0)
}

function removeLeft(state: string, now: number): void {
  for (const name of readdirSync(state)) {
    if (!/^importing-\w{6}$/.test(name)) continue
    const path = join(state, name)
    if (now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now) > LEFT_MS) {
      rmSync(path, { recursive: true, force: true })
    }
  }
}

function busy(path: string): S2Error {
  return new S2Error('unavailable', `${path} was written to all the time, so it could not be copied as a whole`, {
    next: 'stop what writes to it, and try again; nothing was changed',
  })
}

function refusalOf(error: unknown, path: string, state: string): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') return fullByCopy({ folder: state, setting: 'S2_STATE' }, error)
  if (code === 'EACCES' || code === 'EPERM') {
    return new S2Error('forbidden', `${path} may not be read by this user`, {
      next: 'let this user read it and the files beside it, or copy them (with -wal and -journal) to where it may',
      cause: error,
    })
  }
  return error
}
