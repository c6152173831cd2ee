import type { StoredMessage } from '#fleet/message.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import type { Log } from '#runtime/log.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import { isSameFile } from '../file/database-path.ts'
import type { MessageBatch } from '../tables/messages.ts'
import { birthmarkOf, type Tables, type TablesSource } from '../tables/tables.ts'
import type { MessageListener, NewMessageNotifier } from './new-message-notifier.ts'

/** Messages handed out in one go. */
const BATCH = 256
/** Messages read at once when they were just committed; where there are more, the next read takes whole batches. */
const FRESH = 16

export interface MessageStreamParts {
  readonly path: string
  readonly log: Log
  readonly source: TablesSource
  readonly tail: NewMessageNotifier
  /** Aborts when the store is closed. */
  readonly closing: AbortSignal
  /** Asks the database as it is now, waiting while it is locked. */
  ask<T>(question: (tables: Tables) => T): Promise<T>
}

/** The database that a stream read last. */
interface Database {
  readonly tables: Tables
  readonly birthmark: string | null
}

type Result = IteratorResult<readonly StoredMessage[], undefined>

/**
 * Messages as they come, in batches: to one reader those that are not acked, or all of them. Reads whenever the tail rings,
 * from where the last batch ended. Ends when `signal` aborts, or the store is closed.
 *
 * It is no generator, because somebody who waits is to have a message in the turn of the event loop that found it: a ring reads
 * at once and resolves the promise that `next` gave, with nothing in between. Whatever may take longer is left to `#catchUp`:
 * what waits at the start, long histories, a locked database, and one that took the place of another.
 */
export class MessageStream implements AsyncIterableIterator<readonly StoredMessage[]>, MessageListener {
  readonly reader: SessionId | 'all'
  readonly #signal: AbortSignal
  readonly #parts: MessageStreamParts
  readonly #stop = (): void => this.end()
  #cursor: number
  #last: Database | null = null
  #waiting: PromiseWithResolvers<Result> | null = null
  #state: 'new' | 'open' | 'over' = 'new'
  /** There may be more than was read. */
  #isDue = true
  #isHistory = false
  #isCatchingUp = false

  constructor(reader: SessionId | 'all', after: number, signal: AbortSignal, parts: MessageStreamParts) {
    this.reader = reader
    this.#cursor = after
    this.#signal = signal
    this.#parts = parts
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Result> {
    if (this.#waiting !== null) return this.#waiting.promise.then(() => this.next())
    try {
      if (this.#state === 'new') this.#open()
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#state === 'over') return Promise.resolve(END)
    this.#waiting = Promise.withResolvers()
    const { promise } = this.#waiting
    if (this.#isDue) void this.#catchUp()
    return promise
  }

  async return(): Promise<Result> {
    this.end()
    return END
  }

  get isWaiting(): boolean {
    return this.#waiting !== null && !this.#isCatchingUp
  }

  ring(): number {
    this.#isDue = true
    if (!this.isWaiting) return 0
    const { held } = this.#parts.source
    if (held === null || held !== this.#last?.tables) {
      void this.#catchUp()
      return 0
    }
    try {
      return this.#give(this.#read(held, FRESH))
    } catch {
      void this.#catchUp() // which waits for a lock, and tells of anything else
      return 0
    }
  }

  warm(): void {
    const { held } = this.#parts.source
    if (held === null || held !== this.#last?.tables || !this.isWaiting) return
    try {
      this.#select(held, this.#cursor - 1, 1)
    } catch {
      // the read that counts meets it too
    }
  }

  end(): void {
    if (this.#state === 'open') {
      this.#signal.removeEventListener('abort', this.#stop)
      this.#parts.tail.leave(this)
    }
    this.#state = 'over'
    this.#waiting?.resolve(END)
    this.#waiting = null
  }

  #open(): void {
    this.#state = 'over'
    if (this.reader !== 'all') parseSession(this.reader)
    if (this.#signal.aborted || this.#parts.closing.aborted) return
    this.#state = 'open'
    this.#signal.addEventListener('abort', this.#stop, { once: true })
    this.#parts.tail.listen(this)
  }

  /** Reads until there is something for whoever waits, or all is read. */
  async #catchUp(): Promise<void> {
    const { source, ask } = this.#parts
    this.#isCatchingUp = true
    try {
      while (this.#isDue && this.#waiting !== null) {
        if (this.#isHistory) await yieldToEvents() // a long history must not keep the event loop to itself
        this.#isDue = false
        if (source.current() === null) break // it rings again when there is a database
        this.#give(await ask((tables) => this.#readOn(tables)))
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#isCatchingUp = false
    }
  }

  /** Reads on from the cursor, or from the beginning of another database. */
  #readOn(tables: Tables): MessageBatch {
    if (this.#last?.tables !== tables) {
      const now: Database = { tables, birthmark: birthmarkOf(tables) }
      if (!isContinued(this.#last, now, this.#cursor)) {
        const { log, path } = this.#parts
        log.warn('another database is in its place, reading its messages from the beginning', { path })
        this.#cursor = 0
      }
      this.#last = now
    }
    return this.#read(tables, BATCH)
  }

  #read(tables: Tables, limit: number): MessageBatch {
    const batch = this.#select(tables, this.#cursor, limit)
    this.#isDue = false
    return batch
  }

  #select({ messages }: Tables, after: number, limit: number): MessageBatch {
    return this.reader === 'all' ? messages.all(after, limit) : messages.unacked(this.reader, after, limit)
  }

  /** Hands a batch to whoever waits; answers the newest id in it, 0 where there is nothing. */
  #give({ messages, last, isFull }: MessageBatch): number {
    const waiting = this.#waiting
    if (waiting === null) return 0 // it has ended meanwhile
    this.#cursor = last
    this.#isHistory = isFull
    if (isFull) this.#isDue = true
    const newest = messages.at(-1)
    if (newest === undefined) return 0
    this.#waiting = null
    waiting.resolve({ value: messages, done: false })
    return newest.id
  }

  #fail(error: unknown): void {
    this.#waiting?.reject(error)
    this.#waiting = null
    this.end()
  }
}

const END: Result = { value: undefined, done: true }

/** Whether the cursor holds in a database that took the place of another: the ids of an unrelated one begin anew. */
function isContinued(before: Database | null, now: Database, cursor: number): boolean {
  if (before === null || isSameFile(before.tables.file, now.tables.file)) return true
  return before.birthmark !== null && before.birthmark === now.birthmark && now.tables.messages.newest() >= cursor
}
