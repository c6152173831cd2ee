import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { hasByteOrderMark } from '#runtime/read-user-file.ts'
import { isShared } from './atomic-files.ts'

/** Whose file is taken: anybody's, or only one of this user or of root. */
type FileOwner = 'any' | 'own'

/** A plain file as it was read. */
export interface PlainFile {
  readonly text: string
  /** Its text follows a byte order mark, which is no part of it. */
  readonly isMarked: boolean
  /** Permission bits, as in stat(2), but for what the group may that its folder is shared with. */
  readonly mode: number
}

/** How every file is opened that somebody else may have put there: no link is followed, and no pipe waited for. */
const OPENING = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Reads a plain file of at most so many bytes of UTF-8; null where there is none. Whatever else may lie there (a link, a
 * folder, a pipe, a device, something huge, something not permitted) is refused with `invalid` and its reason, without
 * waiting for it. Every file in a folder that an agent can write is read by this, or by its synchronous like.
 */
export async function readPlainFile(
  path: string,
  bytesMax: number,
  owner: FileOwner = 'any',
): Promise<PlainFile | null> {
  try {
    await using file = await open(path, OPENING)
    const stat = await file.stat()
    demandPlain(stat, bytesMax)
    if (owner === 'own' && !isOwn(stat.uid)) throw foreign()
    const buffer = Buffer.allocUnsafe(stat.size + 1)
    let length = 0
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length)
      length += bytesRead
      if (bytesRead === 0) break
      if (length > stat.size) throw grown()
    }
    return {
      text: decode(buffer.subarray(0, length)),
      isMarked: hasByteOrderMark(buffer.subarray(0, length)),
      mode: stat.mode & 0o7777 & ~(isShared(dirname(path)) ? 0o040 : 0),
    }
  } catch (error) {
    return absent(error)
  }
}

/** The text of such a file, at once: for many small ones, each of which would take several turns through the thread pool. */
export function readPlainFileSync(path: string, bytesMax: number, owner: FileOwner = 'any'): string | null {
  let file: number | undefined
  try {
    file = openSync(path, OPENING)
    const { size, uid } = demandPlain(fstatSync(file), bytesMax)
    if (owner === 'own' && !isOwn(uid)) throw foreign()
    const buffer = Buffer.allocUnsafe(size + 1)
    let length = 0
    for (let read = -1; read !== 0; length += read) {
      if (length > size) throw grown()
      read = readSync(file, buffer, length, buffer.length - length, null)
    }
    return decode(buffer.subarray(0, length))
  } catch (error) {
    return absent(error)
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

function demandPlain(stat: Stats, bytesMax: number): Stats {
  if (!stat.isFile()) throw invalid('is not a plain file')
  if (stat.size > bytesMax) throw invalid(`has ${stat.size} bytes; ${bytesMax} are allowed`)
  return stat
}

function foreign(): S2Error {
  return invalid('belongs to another user')
}

function grown(): S2Error {
  return invalid('grew while it was read')
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true })

function decode(bytes: Uint8Array): string {
  return UTF_8.decode(bytes)
}

/** Null for a file that is not there; throws what another failure to read it means. */
function absent(error: unknown): null {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT' || code === 'ENOTDIR') return null
  if (error instanceof S2Error) throw error
  if (error instanceof TypeError) throw invalid('is not UTF-8')
  if (code === 'ELOOP') throw invalid('is a symbolic link')
  if (code === 'EACCES' || code === 'EPERM') throw new S2Error('invalid', 'may not be read', { cause: error })
  if (code === 'ENXIO' || code === 'EISDIR' || code === 'ENODEV') throw invalid('is not a plain file')
  throw diskError('reading a file of the state folder', error)
}

function isOwn(uid: number): boolean {
  return uid === 0 || uid === process.getuid?.()
}

/** Reads a JSON object, or throws `invalid`. */
export function parseObject(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid(text === '' ? 'is empty' : 'is not JSON; it may be cut short')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('is not a JSON object')
  return value as Record<string, unknown>
}

export function invalid(why: string): S2Error {
  return new S2Error('invalid', why)
}

/** What a disk says, as what it means: it did not happen, and it can be tried again. */
export function diskError(doing: string, error: unknown): S2Error {
  if (error instanceof S2Error) return error
  const { code = '', path } = error as NodeJS.ErrnoException
  const [what, next] = MEANINGS[code] ?? [String(error), 'look at the state folder and its disk']
  return new S2Error('unavailable', `${doing} failed: ${what}${path === undefined ? '' : ` (${path})`}`, {
    next,
    cause: error,
  })
}

const MEANINGS: Readonly<Record<string, readonly [what: string, next: string]>> = {
  ENOSPC: ['the disk is full', 'make room: services go on by themselves then, a command is given again'],
  EDQUOT: ['the disk quota is used up', 'make room: services go on by themselves then, a command is given again'],
  EROFS: ['the file system is read-only', 'mount it writable, or set S2_STATE to a folder that is'],
  EACCES: ['permission denied', 'give the user of S2 the state folder'],
  EPERM: ['not permitted', 'give the user of S2 the state folder'],
  EIO: ['the disk reports an error', 'look at the disk'],
  ENOTDIR: ['something else lies where a folder belongs', 'move it away, or set S2_STATE to another folder'],
  EEXIST: ['something else lies where a folder belongs', 'move it away, or set S2_STATE to another folder'],
  EMFILE: ['too many files are open', 'raise the limit of open files'],
  ENFILE: ['too many files are open', 'raise the limit of open files'],
}
