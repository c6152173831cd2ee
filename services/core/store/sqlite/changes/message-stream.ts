import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Log } from '#runtime/log.ts'
import { isSameFile } from '../file/database-path.ts'
import { yieldToEvents } from '../file/yield-to-events.ts'
import type { MessageBatch } from '../tables/messages.ts'
import { birthmarkOf, type Tables, type TablesSource } from '../tables/tables.ts'
import type { NewMessageNotifier } from './new-message-notifier.ts'

/** Messages handed out in one go. */
const BATCH = 256

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

/**
 * Messages as they come, in batches: to one reader those that are not acked, or all of them. Reads whenever the tail
 * rings, from where the last batch ended. Ends when `signal` aborts, or the store is closed.
 */
export async function* streamMessages(
  reader: SessionId | 'all',
  after: number,
  signal: AbortSignal,
  { path, log, source, tail, closing, ask }: MessageStreamParts,
): AsyncGenerator<readonly StoredMessage[]> {
  if (signal.aborted || closing.aborted) return
  using listener = tail.listen(reader)
  const stop = (): void => listener[Symbol.dispose]()
  signal.addEventListener('abort', stop, { once: true })
  try {
    let last: Database | null = null
    let cursor = after
    while (await listener.rung()) {
      for (let isMore = true; isMore && !signal.aborted; ) {
        if (closing.aborted) return
        if (source.current() === null) break // it rings again when there is a database
        const batch: MessageBatch = await ask((tables) => {
          if (last?.tables !== tables) {
            const now: Database = { tables, birthmark: birthmarkOf(tables) }
            if (!isContinued(last, now, cursor)) {
              log.warn('another database is in its place, reading its messages from the beginning', { path })
              cursor = 0
            }
            last = now
          }
          return read(tables, reader, cursor)
        })
        cursor = batch.last
        isMore = batch.isFull
        if (batch.messages.length > 0 && !signal.aborted) yield batch.messages
        if (isMore) await yieldToEvents() // a long history must not keep the event loop to itself
      }
    }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function read({ messages }: Tables, reader: SessionId | 'all', cursor: number): MessageBatch {
  return reader === 'all' ? messages.all(cursor, BATCH) : messages.unacked(reader, cursor, BATCH)
}

/** Whether the cursor holds in a database that took the place of another: the ids of an unrelated one begin anew. */
function isContinued(before: Database | null, now: Database, cursor: number): boolean {
  if (before === null || isSameFile(before.tables.file, now.tables.file)) return true
  return before.birthmark !== null && before.birthmark === now.birthmark && now.tables.messages.newest() >= cursor
}
