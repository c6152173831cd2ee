import type { SessionId } from '#fleet/session-id.ts'
import { type Side, sessionId } from '#fleet/session-id.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { isBusy } from '../file/sqlite-errors.ts'
import { ID_MAX } from '../tables/messages.ts'
import type { TablesSource } from '../tables/tables.ts'

/** Rows read in one go; the rest waits for the next turn of the event loop. */
const BATCH = 1000
/** Listeners that read before the commit's writer goes on; the others follow in the same turn of the event loop. */
const FIRST_RINGS = 8

const NEW_ROWS = `SELECT id, conversation_id, to_session FROM messages WHERE id > ? AND id <= ${ID_MAX} ORDER BY id LIMIT +?`
const NEWEST = `SELECT max(id) AS id FROM messages WHERE id <= ${ID_MAX}`

/** Somebody who reads messages to a session, or all of them, from a cursor of its own. */
export interface MessageListener {
  readonly reader: SessionId | 'all'
  /** True where it has read all that it was rung for, and the next message is waited for. */
  readonly isWaiting: boolean
  /** There may be messages for it: it reads at once where one is waited for. Answers the newest id that it found, or 0. */
  ring(): number
  /** Reads once what it has already, so that the code for it is at hand when a message comes. */
  warm(): void
  /** The store is closed. */
  end(): void
}

/**
 * Notices new messages for all listeners of this process, and rings those whom they concern. A ring is a hint: each
 * listener then reads from its own cursor.
 *
 * Why no message is lost between a listener's first read and its first ring: ids rise in the order of commits, and the tail
 * and its listeners read over one connection. A listener is registered before it reads. So a message was either visible by
 * then, and is in its first read, or the tail finds it later, and rings.
 */
export class NewMessageNotifier implements Disposable {
  readonly #source: Pick<TablesSource, 'current' | 'held'>
  readonly #watch: (tail: NewMessageNotifier) => Disposable
  readonly #listeners = new Set<MessageListener>()
  #watching: Disposable | undefined
  #last: SqliteConnection | null = null
  #position = 0
  /** What the connection said of commits when all was read: of others, and of its own. */
  #seen = { version: -1, changes: -1 }

  /** `watch` begins to call `look` and `read` when something may have been committed, until it is disposed. */
  constructor(source: Pick<TablesSource, 'current' | 'held'>, watch: (tail: NewMessageNotifier) => Disposable) {
    this.#source = source
    this.#watch = watch
  }

  /** Rings a listener when there may be messages for it, until it leaves. */
  listen(listener: MessageListener): void {
    this.#listeners.add(listener)
    if (this.#watching !== undefined) return
    this.#forget()
    this.look()
    this.#watching = this.#watch(this)
  }

  leave(listener: MessageListener): void {
    this.#listeners.delete(listener)
    if (this.#listeners.size > 0) return
    this.#watching?.[Symbol.dispose]()
    this.#watching = undefined
  }

  /**
   * Reads new messages from the database that was opened last, and rings; answers whether there were any. Costs a microsecond
   * where there are none. Whether its file is still the one of that name is for `look` to find out.
   */
  read(): boolean {
    return this.#read(() => (this.#source.held ?? this.#source.current())?.connection ?? null)
  }

  /** The same from the database that has the name now. */
  look(): boolean {
    return this.#read(() => this.#source.current()?.connection ?? null)
  }

  /** Lets the first of the listeners run what the next message will need. */
  warm(): void {
    for (const listener of [...this.#listeners].slice(0, FIRST_RINGS)) listener.warm()
  }

  /** True when nobody is writing, so that what was read is all there is. */
  isQuiet(): boolean {
    return this.#last?.isQuiet() ?? true
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener.end()
  }

  #read(connect: () => SqliteConnection | null): boolean {
    if (this.#listeners.size === 0) return false
    try {
      const connection = connect()
      if (connection !== this.#last) return this.#switchDatabase(connection)
      return connection !== null && this.#readNew(connection)
    } catch (error) {
      // a lock passes, and the next read finds the rows; any other error each listener meets in its own read
      if (!isBusy(error)) for (const listener of this.#listeners) listener.ring()
      return false
    }
  }

  #readNew(connection: SqliteConnection): boolean {
    const seen = { version: connection.dataVersion(), changes: connection.changes }
    if (seen.version === this.#seen.version && seen.changes === this.#seen.changes) return false
    if (this.#isForAll()) {
      this.#seen = seen
      return this.#ringAll()
    }
    const rows = connection.all<{ id: number; conversation_id: string; to_session: Side }>(
      NEW_ROWS,
      this.#position,
      BATCH,
    )
    this.#position = rows.at(-1)?.id ?? this.#position
    if (rows.length < BATCH) this.#seen = seen
    else setImmediate(() => this.read())
    this.#ring(rows)
    return rows.length > 0
  }

  /** True where every listener wants everything and waits for it: whom a message concerns need not be looked up. */
  #isForAll(): boolean {
    for (const { reader, isWaiting } of this.#listeners) if (reader !== 'all' || !isWaiting) return false
    return true
  }

  #ringAll(): boolean {
    let newest = 0
    for (const listener of this.#listeners) newest = Math.max(newest, listener.ring())
    this.#position = Math.max(this.#position, newest)
    return newest > 0
  }

  /** A database appeared, or another one took its place: every listener reads for itself. */
  #switchDatabase(connection: SqliteConnection | null): boolean {
    const newest = connection?.get<{ id: number | null }>(NEWEST)?.id ?? 0
    this.#last = connection
    this.#position = newest
    this.#forget()
    if (connection === null) return false
    for (const listener of this.#listeners) listener.ring()
    return newest > 0
  }

  #ring(rows: readonly { readonly conversation_id: string; readonly to_session: Side }[]): void {
    if (rows.length === 0) return
    const readers = new Set<string>(rows.map((row) => sessionId(row.conversation_id, row.to_session)))
    let rings = 0
    for (const listener of this.#listeners) {
      if (listener.reader !== 'all' && !readers.has(listener.reader)) continue
      rings += 1
      if (rings <= FIRST_RINGS) listener.ring()
      else queueMicrotask(() => listener.ring())
    }
  }

  #forget(): void {
    this.#seen = { version: -1, changes: -1 }
  }
}
