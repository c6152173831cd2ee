import Database from 'better-sqlite3'
import { S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { isBusy, isDamage, isFull, refusalOf } from './sqlite-errors.ts'

/** What a statement takes, and the row that it gives. */
export type Value = string | number | Uint8Array | null
export type Row = Readonly<Record<string, unknown>>

/** How durable a commit is. FULL: it is on the disk when it returns. NORMAL: a power loss may take the last commits. */
export type Durability = 'FULL' | 'NORMAL'

const LEVEL = { FULL: 2, NORMAL: 1 } as const

/** Connections that must not be closed, nor collected as garbage, which would close them. A natural end of the process would too. */
const abandoned: Database.Database[] = []

/** Pages of 4 KiB copied in one step: a few milliseconds. */
const COPY_PAGES = 1000

/**
 * One connection to a database file, with its statements prepared. It never waits: a lock that another process holds throws
 * at once (`isBusy`), since a wait inside SQLite would block the event loop.
 */
export class SqliteConnection implements Disposable {
  readonly #database: Database.Database
  readonly #statements = new Map<string, Database.Statement<Value[]>>()
  /** Rows changed through this connection so far. */
  changes = 0
  #hasMetDamage = false

  /** Opens the file; only `create` makes one that is missing. Nothing is read yet, so no lock can refuse it. */
  constructor(path: string, { create }: { readonly create: boolean }) {
    this.#database = new Database(path, { timeout: 0, fileMustExist: !create })
  }

  /** A limit is written `LIMIT +?`: with a bare parameter SQLite compiles the statement again at every call (30 µs). */
  all<T = Row>(sql: string, ...values: Value[]): T[] {
    try {
      return this.#statement(sql).all(...values) as T[]
    } catch (error) {
      throw this.#met(error)
    }
  }

  /** The rows one by one; nothing else may be asked of this connection meanwhile. */
  each<T = Row>(sql: string, ...values: Value[]): IterableIterator<T> {
    return this.#statement(sql).iterate(...values) as IterableIterator<T>
  }

  get<T = Row>(sql: string, ...values: Value[]): T | undefined {
    try {
      return this.#statement(sql).get(...values) as T | undefined
    } catch (error) {
      throw this.#met(error)
    }
  }

  /** Answers how many rows it changed. */
  run(sql: string, ...values: Value[]): number {
    const { changes } = this.#run(sql, values)
    this.changes += changes
    return changes
  }

  /** Answers the id of the row. */
  insert(sql: string, ...values: Value[]): number {
    const { changes, lastInsertRowid } = this.#run(sql, values)
    this.changes += changes
    return Number(lastInsertRowid)
  }

  /** Runs statements that return no rows. */
  exec(sql: string): void {
    try {
      this.#database.exec(sql)
    } catch (error) {
      throw this.#met(error)
    }
  }

  pragma(text: string): unknown {
    try {
      return this.#database.pragma(text, { simple: true })
    } catch (error) {
      throw this.#met(error)
    }
  }

  /** Begins a transaction with the write lock; throws `isBusy` when another process has it. */
  begin(): void {
    this.#run('BEGIN IMMEDIATE', [])
  }

  commit(): void {
    this.#run('COMMIT', [])
  }

  /** Rolls back the open transaction; SQLite may have done so already. */
  rollback(): void {
    if (this.#database.inTransaction) this.#statement('ROLLBACK').run()
  }

  /** Runs the step in one write transaction; throws `isBusy` when another process has the lock. */
  transaction<T>(step: () => T): T {
    this.begin()
    try {
      const result = step()
      this.commit()
      return result
    } catch (error) {
      this.rollback()
      throw error
    }
  }

  /** Runs a step within an open transaction, and rolls it back when it throws. */
  attempt(step: () => void): void {
    this.#statement('SAVEPOINT attempt').run()
    try {
      step()
    } catch (error) {
      if (this.#database.inTransaction) this.exec('ROLLBACK TO attempt; RELEASE attempt')
      throw error
    }
    this.#statement('RELEASE attempt').run()
  }

  /** Begins a read transaction, which sees what is committed at this instant until `rollback`; throws `isBusy`. */
  beginReading(): void {
    this.exec('BEGIN')
    try {
      this.get('SELECT count(*) FROM sqlite_schema')
    } catch (error) {
      this.rollback()
      throw error
    }
  }

  /**
   * Copies the database into a new file, in steps between which the event loop turns; `onStep` ends the copy by throwing.
   * Needs `beginReading` first: without it each commit of another process would restart the copy, for ever, and a lock at its
   * first step would look like an empty database.
   */
  async copyTo(path: string, onStep: () => void): Promise<void> {
    if (!this.#database.inTransaction) throw new S2Error('internal', 'a copy needs an open read transaction')
    await this.#database.backup(path, {
      progress: () => {
        onStep()
        return COPY_PAGES
      },
    })
  }

  /** Changes with every commit of any other connection, not with our own. Means nothing on another connection. */
  dataVersion(): number {
    return this.get<{ data_version: number }>('PRAGMA data_version')?.data_version ?? 0
  }

  /** True when nobody is writing at this instant, so that all that was committed is visible. Writes nothing. */
  isQuiet(): boolean {
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0 // called thousands of times while others write, and the stack trace is most of the cost
    try {
      this.begin()
      this.rollback()
      return true
    } catch {
      return false
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
  }

  /** It met content or a disk that cannot be trusted: a close would write the log, in which that may be, into the file. */
  get hasMetDamage(): boolean {
    return this.#hasMetDamage
  }

  [Symbol.dispose](): void {
    this.#statements.clear()
    this.#database.close()
  }

  /**
   * Leaves the connection open until the process ends, and lets it end without closing it: a close would write the log into
   * whatever file has the database's name by now, and remove the log of others.
   */
  abandon(): void {
    abandoned.push(this.#database)
    if (abandoned.length === 1) process.once('exit', (code) => process.exit(code))
  }

  #run(sql: string, values: Value[]): Database.RunResult {
    try {
      return this.#statement(sql).run(...values)
    } catch (error) {
      throw this.#met(error)
    }
  }

  #met(error: unknown): unknown {
    if (isDamage(error) && !isFull(error)) this.#hasMetDamage = true
    return error
  }

  #statement(sql: string): Database.Statement<Value[]> {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare<Value[]>(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}

/**
 * Prepares a new connection: write-ahead log, durability, no memory map. The level is checked after a read, because in WAL
 * mode this build of SQLite falls back to NORMAL at the first access unless it was set. May throw `isBusy`.
 */
export function prepare(connection: SqliteConnection, durability: Durability, journal: 'make' | 'leave'): void {
  connection.pragma('foreign_keys = OFF') // as the Python bridge has it: its messages may outlive their conversation
  connection.pragma('mmap_size = 0')
  if (journal === 'make' && connection.pragma('journal_mode = WAL') !== 'wal') {
    throw new S2Error('unavailable', 'the file system does not let SQLite keep a write-ahead log', {
      next: 'put the database on a local disk',
    })
  }
  connection.pragma(`synchronous = ${durability}`)
  connection.pragma(`wal_autocheckpoint = ${CHECKPOINT_AT_LEAST[durability]}`)
  connection.get('SELECT count(*) FROM sqlite_schema')
  if (connection.pragma('synchronous') !== LEVEL[durability]) {
    throw new S2Error('internal', `SQLite does not keep synchronous=${durability}`)
  }
}

/** With so many pages in the log a commit pays for a checkpoint. For FULL, `Checkpoints` runs them long before. */
const CHECKPOINT_AT_LEAST = { FULL: 16_384, NORMAL: 1_000 } as const

/** Waits between tries while the database is locked. */
const BUSY_WAITS = { firstMs: 2, mostMs: 40 }

export interface LockWait {
  readonly clock: Clock
  readonly chance: Chance
  /** After so many milliseconds of a locked database the act fails as `unavailable`. */
  readonly boundMs: number
}

/** Repeats an act while another process holds the lock, leaving the event loop free between tries. */
export async function waitingForLock<T>(act: () => T, path: string, { clock, chance, boundMs }: LockWait): Promise<T> {
  const start = clock.now()
  const pauses = new Pauses(BUSY_WAITS, chance)
  for (;;) {
    try {
      return act()
    } catch (error) {
      if (!isBusy(error) || clock.now() - start >= boundMs) throw refusalOf(error, path)
    }
    await pauses.wait(clock)
  }
}
