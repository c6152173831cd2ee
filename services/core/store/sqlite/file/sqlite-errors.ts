import Database from 'better-sqlite3'
import { S2Error } from '#fleet/errors.ts'
import { holderInWords, nextAbout, writerOf } from './lock-holders.ts'
import { isOnReadOnlyDisk, isReadOnly, readOnlyDisk } from './read-only-disk.ts'

/** SQLite's own (extended) result code, e.g. `SQLITE_IOERR_FSYNC`; undefined for every other error. */
export function sqliteCode(error: unknown): string | undefined {
  return error instanceof Database.SqliteError ? error.code : undefined
}

/** Another process has the lock, recovers the log or closes the file: another try will succeed. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error)
  return code !== undefined && (/^SQLITE_(BUSY|LOCKED)(_|$)/.test(code) || code === 'SQLITE_PROTOCOL')
}

/** The disk is full. SQLITE_IOERR_SHMSIZE says so of the shared index. */
export function isFull(error: unknown): boolean {
  const code = sqliteCode(error)
  return code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_SHMSIZE'
}

/** The content of the file, or its disk, cannot be trusted any more. */
export function isDamage(error: unknown): boolean {
  const code = sqliteCode(error)
  return code !== undefined && /^SQLITE_(IOERR|CORRUPT|NOTADB)(_|$)/.test(code)
}

/** The refusal for a failure of SQLite by which nothing was written. An `S2Error` stays as it is. */
export function refusalOf(error: unknown, path: string): S2Error {
  if (error instanceof S2Error) return error
  const code = sqliteCode(error)
  if (isBusy(error)) {
    const holder = writerOf(path)
    const who = holder === null ? 'another process' : holderInWords(holder)
    return new S2Error('unavailable', `the database ${path} is locked by ${who}`, {
      next: `${nextAbout(holder, path)}; nothing was written`,
      cause: error,
    })
  }
  if (isFull(error)) return fullDisk(path, error)
  if (code === 'SQLITE_NOTADB') {
    return new S2Error('invalid', `${path} is not a SQLite database`, {
      next: `name another file, for example S2_STORE=sqlite:${path}.new; S2 never overwrites what it does not know`,
      cause: error,
    })
  }
  if (code?.startsWith('SQLITE_CORRUPT')) return corrupt(path, error)
  if (mayBeReadOnly(error) && isOnReadOnlyDisk(path)) return readOnlyDisk(path, error)
  if (code !== undefined && /^SQLITE_(READONLY|PERM|CANTOPEN|AUTH)(_|$)/.test(code)) {
    return new S2Error('forbidden', `the database ${path} cannot be opened for writing (${code})`, {
      next: 'let this user write the file and its folder: readers of a WAL database need it too, for their locks',
      cause: error,
    })
  }
  if (code?.startsWith('SQLITE_IOERR')) {
    return new S2Error('unavailable', `the disk that holds ${path} fails (${code})`, {
      next: 'look at the disk (dmesg), then start the program again',
      cause: error,
    })
  }
  if (error instanceof Error && 'code' in error && /^(EACCES|EPERM|EROFS)$/.test(String(error.code))) {
    return new S2Error('forbidden', `a file beside ${path} may not be written by this user`, {
      next: 'let this user write the folder and all files of the database in it',
      cause: error,
    })
  }
  return new S2Error('internal', `the store ${path} failed in an unforeseen way`, { cause: error })
}

/** Whether an error concerns what was just written alone, and the next row may go well. */
export function isOfOneRow(error: unknown): boolean {
  return !isBusy(error) && !isFull(error) && !isDamage(error)
}

/** These say it of a read-only file system, and of much else. */
function mayBeReadOnly(error: unknown): boolean {
  return isReadOnly(error) || /^SQLITE_(READONLY|CANTOPEN|IOERR)(_|$)/.test(sqliteCode(error) ?? '')
}

export function fullDisk(path: string, cause?: unknown): S2Error {
  return new S2Error('unavailable', `the disk that holds ${path} is full`, {
    next: 'free some space: reading goes on, writing starts again by itself; nothing was written',
    cause,
  })
}

export function corrupt(path: string, cause: unknown): S2Error {
  return new S2Error('unavailable', `the database ${path} is damaged; S2 neither repairs nor recreates it`, {
    next: 'stop what uses it and put a backup in its place: s2 restore --latest; the damaged file is kept',
    cause,
  })
}
