import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { prepare, SqliteConnection } from '../file/connection.ts'
import { identify, isSameFile } from '../file/database-path.ts'
import { inspectSchema, lendTables } from '../file/schema.ts'
import { isBusy, refusalOf } from '../file/sqlite-errors.ts'
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
  readonly #parts: { readonly clock: Clock; readonly log: Log; readonly malformed: MalformedRows }
  #tables: Tables | null = null
  #isLent = false
  #lastError = ''
  #lookAgainAt = Number.NEGATIVE_INFINITY
  /** Changes with every table that is made in a database that has only the Python bridge's tables. */
  #schema: unknown = null

  constructor(path: string, parts: { readonly clock: Clock; readonly log: Log; readonly malformed: MalformedRows }) {
    this.#path = path
    this.#parts = parts
  }

  get held(): Tables | null {
    return this.#tables
  }

  /** The database as it is now; null while there is none that can be read. Costs two microseconds when nothing changed. */
  current(): Tables | null {
    const file = identify(this.#path)
    if (this.#tables !== null && isSameFile(file, this.#tables.file) && !this.#hasOursNow(this.#tables.connection)) {
      return this.#tables
    }
    this[Symbol.dispose]()
    if (file === null || this.#parts.clock.now() < this.#lookAgainAt) return null
    try {
      this.look()
      this.#lastError = ''
    } catch (error) {
      if (!isBusy(error)) this.#tellOnce(refusalOf(error, this.#path))
    }
    return this.#tables
  }

  /** Opens the file, unless there is nothing in it yet. Throws an `S2Error` that says what is wrong with it. */
  look(): void {
    const file = identify(this.#path)
    if (file === null) return
    const connection = new SqliteConnection(this.#path, { create: false })
    try {
      const contents = inspectSchema(connection, this.#path)
      // a file that was replaced meanwhile is opened at the next look
      if (contents !== 'nothing' && isSameFile(file, identify(this.#path))) {
        prepare(connection, 'FULL', 'leave')
        this.#isLent = contents === 'bridge'
        if (this.#isLent) lendTables(connection)
        this.#tables = openTables(connection, file, this.#parts.clock, this.#parts.malformed)
      }
    } finally {
      if (this.#tables === null) connection[Symbol.dispose]()
    }
  }

  /** The database, or `unavailable`. */
  demand(): Tables {
    const tables = this.current()
    if (tables !== null) return tables
    throw new S2Error('unavailable', `there is no database at ${this.#path} yet`, {
      next: 'start the bridge that makes it, or look at S2_STORE',
    })
  }

  [Symbol.dispose](): void {
    this.#tables?.connection[Symbol.dispose]()
    this.#tables = null
  }

  #tellOnce(error: S2Error): void {
    this.#lookAgainAt = this.#parts.clock.now() + LOOK_AGAIN_MS
    if (error.message === this.#lastError) return
    this.#lastError = error.message
    this.#parts.log.error('database unreadable, waiting for another in its place', { error })
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
