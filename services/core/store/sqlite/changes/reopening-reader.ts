import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { StoreParts } from '../../store.ts'
import { prepare, SqliteConnection } from '../file/connection.ts'
import { DatabaseFiles } from '../file/database-files.ts'
import { type FileIdentity, identify, isSameFile, logBytes } from '../file/database-path.ts'
import { inspectSchema, lendTables } from '../file/schema.ts'
import { demandSharedRights } from '../file/shared-rights.ts'
import { isBusy, refusalOf } from '../file/sqlite-errors.ts'
import { FileGuard } from '../file-guard.ts'
import { PythonReaders } from '../python/python-readers.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { openTables, type Tables, type TablesSource } from '../tables/tables.ts'

/** A file that cannot be used is tried again after so many milliseconds: it may have been mended in place. */
const LOOK_AGAIN_MS = 1000

/**
 * A reader's view of a database that others make, replace and remove: always the file that has the name now, once it holds
 * messages. Its connection has the right to write, since without it no process shares the locks of a WAL database; it never
 * writes.
 */
export class ReopeningReader implements TablesSource {
  readonly #path: string
  readonly #parts: StoreParts
  readonly #malformed: MalformedRows
  #tables: Tables | null = null
  #guard: FileGuard | null = null
  /** The files of the database that was open last: its log does not belong to another one in its place. */
  #former: DatabaseFiles | null = null
  /** The file of a connection that was left open. */
  #left: FileIdentity | null = null
  /** Why there is no database now, where it is known. */
  #refusal: S2Error | null = null
  #isLent = false
  #lastError = ''
  #lookAgainAt = Number.NEGATIVE_INFINITY
  /** Changes with every table that is made in a database that has only the Python bridge's tables. */
  #schema: unknown = null

  constructor(path: string, parts: StoreParts, malformed: MalformedRows) {
    this.#path = path
    this.#parts = parts
    this.#malformed = malformed
  }

  get held(): Tables | null {
    return this.#guard?.refusal == null ? this.#tables : null
  }

  /** The database as it is now; null while there is none that can be read. Costs two microseconds when nothing changed. */
  current(): Tables | null {
    const file = identify(this.#path)
    if (this.#guard !== null && isSameFile(file, this.#guard.files.main)) {
      this.#refusal = this.#guard.glance()
      if (this.#refusal !== null) return null
      if (this.#tables !== null && !this.#hasOursNow(this.#tables.connection)) return this.#tables
    }
    this[Symbol.dispose]()
    if (this.#parts.clock.now() < this.#lookAgainAt) return null
    try {
      this.open()
      this.#lastError = ''
      this.#refusal = null
    } catch (error) {
      if (!isBusy(error)) this.#tellOnce(refusalOf(error, this.#path))
    }
    return this.#tables
  }

  /** Opens the file, unless there is nothing in it yet. Throws an `S2Error` that says what is wrong with it. */
  open(): void {
    demandSharedRights({ path: this.#path, folder: dirname(this.#path) })
    const file = identify(this.#path)
    if (file === null) return
    if (this.#hasForeignLog(file)) throw foreignLog(this.#path)
    const connection = new SqliteConnection(this.#path, { create: false })
    try {
      const contents = inspectSchema(connection, this.#path)
      // a file that was replaced meanwhile is opened at the next look
      if (contents !== 'nothing' && isSameFile(file, identify(this.#path))) {
        prepare(connection, 'FULL', 'leave')
        this.#isLent = contents === 'bridge'
        if (this.#isLent) lendTables(connection)
        const files = new DatabaseFiles(this.#path, file)
        this.#guard = new FileGuard(this.#path, files, connection, this.#parts, 'read')
        this.#tables = openTables(connection, file, this.#parts.clock, this.#malformed, new PythonReaders())
      }
    } finally {
      if (this.#tables === null) this.#close(connection, file)
    }
  }

  /** The database, or `unavailable`. */
  demand(): Tables {
    const tables = this.current()
    if (tables !== null) return tables
    throw (
      this.#refusal ??
      new S2Error('unavailable', `there is no database at ${this.#path} yet`, {
        next: 'start the bridge that makes it, or look at S2_STORE',
      })
    )
  }

  look(): S2Error | null {
    return this.#guard?.look() ?? null
  }

  async settle(): Promise<void> {
    await this.#guard?.settle()
  }

  [Symbol.dispose](): void {
    this.#former = this.#guard?.files ?? this.#former
    this.#guard?.[Symbol.dispose]()
    this.#guard = null
    this.#tables = null
  }

  /**
   * The last to close a database writes its log into it, whatever is wrong with the log. One connection that is left open keeps
   * all that come after it from being the last.
   */
  #close(connection: SqliteConnection, file: FileIdentity): void {
    if (connection.hasMetDamage && logBytes(this.#path) > 0 && !isSameFile(file, this.#left)) {
      this.#left = file
      connection.abandon()
    } else connection[Symbol.dispose]()
  }

  #tellOnce(error: S2Error): void {
    const { message, next } = error
    this.#refusal = new S2Error('unavailable', message, { ...(next === undefined ? {} : { next }), cause: error })
    this.#lookAgainAt = this.#parts.clock.now() + LOOK_AGAIN_MS
    if (error.message === this.#lastError) return
    this.#lastError = error.message
    this.#parts.log.error('database unreadable, waiting for another in its place', { error })
  }

  /** Whether the log beside the file is the one of the database that was open before it. */
  #hasForeignLog(file: FileIdentity): boolean {
    if (this.#former === null || isSameFile(file, this.#former.main)) return false
    return logBytes(this.#path) > 0 && isSameFile(identify(`${this.#path}-wal`), this.#former.log)
  }

  /** Whether a database that had only the Python bridge's tables has ours by now. */
  #hasOursNow(connection: SqliteConnection): boolean {
    if (!this.#isLent) return false
    try {
      const schema = connection.get<{ schema_version: number }>('PRAGMA main.schema_version')?.schema_version
      if (schema === this.#schema) return false
      const ours = connection.get("SELECT 1 FROM main.sqlite_schema WHERE name = 's2_migrations'")
      this.#schema = schema
      return ours !== undefined
    } catch {
      return false
    }
  }
}

/** The refusal of a database that took the place of another, whose log would be read as if it were its own. */
function foreignLog(path: string): S2Error {
  return new S2Error('unavailable', `${path} was replaced, and the log beside it belongs to the one before`, {
    next: `stop all programs that use it, then move ${path}-wal and ${path}-shm away`,
  })
}
