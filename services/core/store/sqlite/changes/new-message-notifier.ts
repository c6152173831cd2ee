import type { SessionId } from '#fleet/session-id.ts'
import { type Side, sessionId } from '#fleet/session-id.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { isBusy } from '../file/sqlite-errors.ts'
import { ID_MAX } from '../tables/messages.ts'

/** Rows read in one go; the rest waits for the next turn of the event loop. */
const BATCH = 1000

/**
 * Notices new messages for all listeners of this process, and rings those whom they concern. A ring is a hint: each
 * listener then reads from its own cursor.
 *
 * Why no message is lost between a listener's first read and its first ring: ids rise in the order of commits, and the tail
 * and its listeners read over one connection. A listener is registered, and rung, before it reads. So a message was either
 * visible by then, and is in its first read, or the tail finds it later, and rings.
 */
export class NewMessageNotifier implements Disposable {
  readonly #connection: () => SqliteConnection | null
  readonly #watch: (tail: NewMessageNotifier) => Disposable
  readonly #listeners = new Set<TailListener>()
  #watching: Disposable | undefined
  #last: SqliteConnection | null = null
  #position = 0
  #seen = ''

  /** `watch` begins to call `read` when something may have been committed, until it is disposed. */
  constructor(connection: () => SqliteConnection | null, watch: (tail: NewMessageNotifier) => Disposable) {
    this.#connection = connection
    this.#watch = watch
  }

  /** Listens for messages to a reader, or for all of them. */
  listen(reader: SessionId | 'all'): TailListener {
    const listener = new TailListener(reader, () => this.#leave(listener))
    this.#listeners.add(listener)
    if (this.#watching === undefined) {
      this.#seen = ''
      this.read()
      this.#watching = this.#watch(this)
    }
    return listener
  }

  /** Reads new messages now and rings; answers how many there were. Costs a microsecond where there are none. */
  read(): number {
    if (this.#listeners.size === 0) return 0
    try {
      return this.#readNew()
    } catch (error) {
      // a lock passes, and the next read finds the rows; any other error each listener meets in its own read
      if (!isBusy(error)) for (const listener of this.#listeners) listener.ring()
      return 0
    }
  }

  /** True when nobody is writing, so that what was read is all there is. */
  isQuiet(): boolean {
    return this.#last?.isQuiet() ?? true
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener[Symbol.dispose]()
  }

  #readNew(): number {
    const connection = this.#connection()
    if (connection !== this.#last) return this.#switchDatabase(connection)
    if (connection === null) return 0
    const seen = `${connection.dataVersion()}.${connection.changes}`
    if (seen === this.#seen) return 0
    const rows = connection.all<{ id: number; conversation_id: string; to_session: Side }>(
      `SELECT id, conversation_id, to_session FROM messages WHERE id > ? AND id <= ${ID_MAX} ORDER BY id LIMIT +?`,
      this.#position,
      BATCH,
    )
    this.#position = rows.at(-1)?.id ?? this.#position
    if (rows.length < BATCH) this.#seen = seen
    else setImmediate(() => this.read())
    this.#wake(rows)
    return rows.length
  }

  /** A database appeared, or another one took its place: every listener reads for itself. */
  #switchDatabase(connection: SqliteConnection | null): number {
    const newest =
      connection?.get<{ id: number | null }>(`SELECT max(id) AS id FROM messages WHERE id <= ${ID_MAX}`)?.id ?? 0
    this.#last = connection
    this.#position = newest
    this.#seen = ''
    if (connection === null) return 0
    for (const listener of this.#listeners) listener.ring()
    return newest > 0 ? 1 : 0
  }

  #wake(rows: readonly { readonly conversation_id: string; readonly to_session: Side }[]): void {
    if (rows.length === 0) return
    const readers = new Set<string>(rows.map((row) => sessionId(row.conversation_id, row.to_session)))
    for (const listener of this.#listeners)
      if (listener.reader === 'all' || readers.has(listener.reader)) listener.ring()
  }

  #leave(listener: TailListener): void {
    this.#listeners.delete(listener)
    if (this.#listeners.size > 0) return
    this.#watching?.[Symbol.dispose]()
    this.#watching = undefined
  }
}

/** A listener of the tail: it is rung when there may be messages for its reader. */
export class TailListener implements Disposable {
  readonly reader: SessionId | 'all'
  readonly #leave: () => void
  #isRung = true
  #isOver = false
  #wake: (() => void) | undefined

  constructor(reader: SessionId | 'all', leave: () => void) {
    this.reader = reader
    this.#leave = leave
  }

  ring(): void {
    this.#isRung = true
    this.#wake?.()
  }

  /** Waits until it was rung since the last wait; answers false when it is disposed. */
  async rung(): Promise<boolean> {
    if (!this.#isRung && !this.#isOver) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      await promise
      this.#wake = undefined
    }
    this.#isRung = false
    return !this.#isOver
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    this.#wake?.()
    this.#leave()
  }
}
