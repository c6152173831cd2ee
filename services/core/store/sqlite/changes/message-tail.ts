import type { SessionId } from '#fleet/session.ts'
import { type Side, sessionId } from '#fleet/session.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { isBusy } from '../file/sqlite-errors.ts'

/** Rows looked at in one go; more wait for the next turn of the event loop. */
const GLANCE_MAX = 1000

/**
 * Notices new messages for all who listen in this process, and wakes those they concern. What they then read is theirs to
 * ask: a wake is a hint, their cursor is the truth.
 *
 * Why none falls between what a listener asks first and what it is woken for: ids rise in the order of commits, and all who are
 * here ask over one handle, to which nothing it has seen gets lost. A listener is among the ears, and rung, before it asks. So a
 * message was either seen before it came, and is in its first answer, or is found later, and rings it.
 */
export class MessageTail implements Disposable {
  readonly #connection: () => SqliteConnection | null
  readonly #hear: (tail: MessageTail) => Disposable
  readonly #ears = new Set<TailListener>()
  #hearing: Disposable | undefined
  #last: SqliteConnection | null = null
  #position = 0
  #seen = ''

  /** `hear` begins to call `read` when something may have been committed, until it is disposed. */
  constructor(connection: () => SqliteConnection | null, hear: (tail: MessageTail) => Disposable) {
    this.#connection = connection
    this.#hear = hear
  }

  /** Listens for messages to a reader, or for all of them. */
  listen(reader: SessionId | 'all'): TailListener {
    const ear = new TailListener(reader, () => this.#leave(ear))
    this.#ears.add(ear)
    if (this.#hearing === undefined) {
      this.#seen = ''
      this.read()
      this.#hearing = this.#hear(this)
    }
    return ear
  }

  /** Looks for new messages now, and wakes; answers how many there were. Costs a microsecond when there is nothing. */
  read(): number {
    if (this.#ears.size === 0) return 0
    try {
      return this.#glance()
    } catch (error) {
      // a lock passes, and who wakes us comes again; any other trouble each listener meets himself
      if (!isBusy(error)) for (const ear of this.#ears) ear.ring()
      return 0
    }
  }

  /** True when nobody writes just now, so that what was read is all there is. */
  isQuiet(): boolean {
    return this.#last?.isQuiet() ?? true
  }

  [Symbol.dispose](): void {
    for (const ear of this.#ears) ear[Symbol.dispose]()
  }

  #glance(): number {
    const connection = this.#connection()
    if (connection !== this.#last) return this.#meet(connection)
    if (connection === null) return 0
    const seen = `${connection.dataVersion()}.${connection.changes}`
    if (seen === this.#seen) return 0
    const rows = connection.all<{ id: number; conversation_id: string; to_session: Side }>(
      'SELECT id, conversation_id, to_session FROM messages WHERE id > ? ORDER BY id LIMIT +?',
      this.#position,
      GLANCE_MAX,
    )
    this.#position = rows.at(-1)?.id ?? this.#position
    if (rows.length < GLANCE_MAX) this.#seen = seen
    else setImmediate(() => this.read())
    this.#wake(rows)
    return rows.length
  }

  /** A database appears, or another one in its place: everybody looks for himself. */
  #meet(connection: SqliteConnection | null): number {
    const newest = connection?.get<{ id: number | null }>('SELECT max(id) AS id FROM messages')?.id ?? 0
    this.#last = connection
    this.#position = newest
    this.#seen = ''
    if (connection === null) return 0
    for (const ear of this.#ears) ear.ring()
    return newest > 0 ? 1 : 0
  }

  #wake(rows: readonly { readonly conversation_id: string; readonly to_session: Side }[]): void {
    if (rows.length === 0) return
    const readers = new Set<string>(rows.map((row) => sessionId(row.conversation_id, row.to_session)))
    for (const ear of this.#ears) if (ear.reader === 'all' || readers.has(ear.reader)) ear.ring()
  }

  #leave(ear: TailListener): void {
    this.#ears.delete(ear)
    if (this.#ears.size > 0) return
    this.#hearing?.[Symbol.dispose]()
    this.#hearing = undefined
  }
}

/** One who listens: rung when there may be something for him. */
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

  /** Waits for a ring since the last wait; answers false when it is over. */
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
