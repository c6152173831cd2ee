import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { prepare, SqliteConnection } from '../file/connection.ts'
import { identify, isSameFile } from '../file/database-path.ts'
import { inspectSchema, lendTables } from '../file/schema.ts'
import { isBusy, refusalOf } from '../file/sqlite-errors.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { openTables, type Tables, type TablesSource } from '../tables/tables.ts'

/** A file that cannot be used is tried again after so many milliseconds: somebody may have mended it in place. */
const LOOK_AGAIN_MS = 1000

/**
 * A reader's view of a database that others make, replace and remove: whatever file bears the name now, once it holds
 * messages. Its handle may write, for without that right nobody shares the locks of a WAL database; it never does.
 */
export class ReopeningReader implements TablesSource {
  readonly #path: string
  readonly #parts: { readonly clock: Clock; readonly log: Log; readonly malformed: MalformedRows }
  #rooms: Tables | null = null
  #isLent = false
  #refusal = ''
  #lookAgainAt = Number.NEGATIVE_INFINITY
  /** Rises with every table that is made in a database that has only the Python bridge's. */
  #schema: unknown = null

  constructor(path: string, parts: { readonly clock: Clock; readonly log: Log; readonly malformed: MalformedRows }) {
    this.#path = path
    this.#parts = parts
  }

  /** The database as it is now; null while there is none that can be read. Costs two microseconds when nothing changed. */
  current(): Tables | null {
    const file = identify(this.#path)
    if (this.#rooms !== null && isSameFile(file, this.#rooms.file) && !this.#hasOursNow(this.#rooms.connection)) {
      return this.#rooms
    }
    this[Symbol.dispose]()
    if (file === null || this.#parts.clock.now() < this.#lookAgainAt) return null
    try {
      this.look()
      this.#refusal = ''
    } catch (error) {
      if (!isBusy(error)) this.#complain(refusalOf(error, this.#path))
    }
    return this.#rooms
  }

  /** Opens what lies there; leaves it when there is nothing in it yet. Throws `S2Error`s that say what is wrong with it. */
  look(): void {
    const file = identify(this.#path)
    if (file === null) return
    const connection = new SqliteConnection(this.#path, { create: false })
    try {
      const contents = inspectSchema(connection, this.#path)
      // a file that was replaced meanwhile is for the next look
      if (contents !== 'nothing' && isSameFile(file, identify(this.#path))) {
        prepare(connection, 'FULL', 'leave')
        this.#isLent = contents === 'bridge'
        if (this.#isLent) lendTables(connection)
        this.#rooms = openTables(connection, file, this.#parts.clock, this.#parts.malformed)
      }
    } finally {
      if (this.#rooms === null) connection[Symbol.dispose]()
    }
  }

  /** The database, or `unavailable`. */
  demand(): Tables {
    const rooms = this.current()
    if (rooms !== null) return rooms
    throw new S2Error('unavailable', `there is no database at ${this.#path} yet`, {
      next: 'start the bridge that makes it, or look at S2_STORE',
    })
  }

  [Symbol.dispose](): void {
    this.#rooms?.connection[Symbol.dispose]()
    this.#rooms = null
  }

  #complain(error: S2Error): void {
    this.#lookAgainAt = this.#parts.clock.now() + LOOK_AGAIN_MS
    if (error.message === this.#refusal) return
    this.#refusal = error.message
    this.#parts.log.error('the database cannot be read; waiting for another one in its place', { error })
  }

  /** Whether a database that had only the Python bridge's tables has got ours. */
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
