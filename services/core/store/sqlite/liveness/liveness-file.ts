import { chmodSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { type LockWait, prepare, SqliteConnection, waitingForLock } from '../file/connection.ts'
import { DatabaseFiles } from '../file/database-files.ts'
import { type FileIdentity, identify } from '../file/database-path.ts'
import { isOnReadOnlyDisk } from '../file/read-only-disk.ts'
import { readSchema } from '../file/schema.ts'
import { demandSharedRights } from '../file/shared-rights.ts'
import { isDamage, isFull, sqliteCode } from '../file/sqlite-errors.ts'

/** Raised with every change of liveness.sql: a file of another version is made anew. */
const SCHEMA_VERSION = 6

export interface LivenessFileParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** A reader makes no file and writes nothing. */
  readonly mode: 'write' | 'read'
  /** Who may use the file, as in chmod(2), when it is made. */
  readonly fileMode: () => number
  /** How long a locked file is waited for, milliseconds. */
  readonly lockWaitMs: number
}

/**
 * The file of beats and verdicts beside the message database. Its commits may be lost with the power, and it may be
 * deleted at any time: the next beats and verdicts fill it again.
 */
export class LivenessFile implements Disposable {
  readonly #path: string
  readonly #parts: LivenessFileParts
  /** Called whenever another file was opened: it lacks what was written before. */
  #onReopen: () => void = () => undefined
  #connection: SqliteConnection | undefined
  #files: DatabaseFiles | null = null
  #isClosed = false

  constructor(path: string, parts: LivenessFileParts) {
    this.#path = path
    this.#parts = parts
  }

  get mode(): 'write' | 'read' {
    return this.#parts.mode
  }

  /** The file that is open, the same object for as long as it is; null before the first is opened. */
  get identity(): FileIdentity | null {
    return this.#files?.main ?? null
  }

  onReopen(listener: () => void): void {
    this.#onReopen = listener
  }

  /**
   * Runs an act in one transaction, waiting while the file is locked. Throws `unavailable`. The act may run twice, so it has no
   * effect but on the file.
   */
  async write<T>(act: (connection: SqliteConnection) => T): Promise<T> {
    return this.#patiently(() => {
      const connection = this.#open()
      try {
        return connection.transaction(() => act(connection))
      } catch (error) {
        if (!isFull(error)) throw error
        connection.get('PRAGMA wal_checkpoint(PASSIVE)') // then the log begins anew, and beats need no more of the full disk
        return connection.transaction(() => act(connection))
      }
    })
  }

  /** Answers null where there is no file of ours and none may be made. Throws `unavailable`. */
  async read<T>(act: (connection: SqliteConnection) => T): Promise<T | null> {
    return this.#patiently(() => {
      if (this.#parts.mode === 'read' && identify(this.#path) === null) return null
      const connection = this.#open()
      if (this.#parts.mode === 'read' && connection.pragma('user_version') !== SCHEMA_VERSION) return null
      return act(connection)
    })
  }

  removedWhileWriting(): S2Error {
    return new S2Error('unavailable', `${this.#path} was removed while verdicts were written`)
  }

  [Symbol.dispose](): void {
    this.#close()
    this.#isClosed = true
  }

  /**
   * Repeats an act while the file is locked. A damaged file is replaced by a new one, once. An error of the disk is met twice
   * before it counts as damage, and on a disk that is read-only nothing is replaced.
   */
  async #patiently<T>(act: () => T): Promise<T> {
    const lockWait = { ...this.#parts, boundMs: this.#parts.lockWaitMs }
    try {
      return await waitingForLock(act, this.#path, lockWait)
    } catch (error) {
      if (this.#parts.mode === 'read' || !isPastUse(error) || isOnReadOnlyDisk(this.#path)) throw error
      if (isOfDisk(error)) return await this.#again(act, lockWait)
      return await this.#anew(act, error, lockWait)
    }
  }

  async #again<T>(act: () => T, lockWait: LockWait): Promise<T> {
    this.#close()
    try {
      return await waitingForLock(act, this.#path, lockWait)
    } catch (error) {
      if (!isPastUse(error)) throw error
      return await this.#anew(act, error, lockWait)
    }
  }

  async #anew<T>(act: () => T, error: unknown, lockWait: LockWait): Promise<T> {
    this.#parts.log.warn('the file of beats is damaged; a new one is made', { path: this.#path, error })
    this.#discard()
    return await waitingForLock(act, this.#path, lockWait)
  }

  /** The connection, opened anew when the file under it is not the one that others see. */
  #open(): SqliteConnection {
    if (this.#isClosed) throw new S2Error('unavailable', `the store of beats ${this.#path} is closed`)
    const doubt = this.#connection === undefined ? null : (this.#files?.look() ?? null)
    if (this.#connection !== undefined && doubt === null) return this.#connection
    const isMadeAnew = doubt !== null && doubt !== 'removed' && doubt !== 'replaced' && this.#parts.mode === 'write'
    if (isMadeAnew)
      this.#discard() // others would be read in another log than this one
    else this.#close()
    const isNew = identify(this.#path) === null
    demandSharedRights({ path: this.#path, folder: dirname(this.#path) })
    const connection = new SqliteConnection(this.#path, { create: this.#parts.mode === 'write' })
    try {
      if (isNew) chmodSync(this.#path, this.#parts.fileMode())
      prepare(connection, 'NORMAL', this.#parts.mode === 'write' ? 'make' : 'leave')
      if (this.#parts.mode === 'write') makeSchema(connection, this.#parts.clock.wall())
    } catch (error) {
      connection[Symbol.dispose]()
      throw error
    }
    const main = identify(this.#path)
    this.#files = main === null ? null : new DatabaseFiles(this.#path, main)
    this.#connection = connection
    this.#onReopen()
    return connection
  }

  #close(): void {
    this.#files?.[Symbol.dispose]()
    this.#connection?.[Symbol.dispose]()
    this.#connection = undefined
  }

  /** The names go first: the close of a file that has its name would write its log into it, and remove the log of others. */
  #discard(): void {
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${this.#path}${suffix}`, { force: true })
    this.#close()
  }
}

/** What SQLite says that nothing but a new file will mend. */
function isPastUse(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return (isDamage(cause) && !isFull(cause)) || sqliteCode(cause) === 'SQLITE_ERROR'
}

function isOfDisk(error: unknown): boolean {
  return error instanceof Error && /^SQLITE_IOERR(_|$)/.test(sqliteCode(error.cause) ?? '')
}

/**
 * Versions begin at the microseconds of the wall clock, so that in a file that was made anew they lie beyond all that
 * observers have seen of the one before.
 */
function makeSchema(connection: SqliteConnection, wall: number): void {
  if (connection.pragma('user_version') === SCHEMA_VERSION) return
  connection.transaction(() => {
    if (connection.pragma('user_version') === SCHEMA_VERSION) return
    const tables = connection.all<{ name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table'")
    for (const { name } of tables) connection.exec(`DROP TABLE "${name}"`)
    connection.exec(readSchema('liveness.sql'))
    connection.run('INSERT INTO collecting (id, version, tick) VALUES (1, ?, ?)', Math.round(wall * 1000), '')
    connection.pragma(`user_version = ${SCHEMA_VERSION}`)
  })
  connection.get('PRAGMA wal_checkpoint(PASSIVE)') // the file has its pages, whatever becomes of the disk
}
