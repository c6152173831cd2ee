import { conversationOf, isConversationId, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { ID_MAX, type MessageTable } from '../tables/messages.ts'
import type { Tables } from '../tables/tables.ts'
import { OWN_MARK } from './python-format.ts'

/** New messages looked at in one go. */
const MESSAGES_AT_ONCE = 1_000
/** Readers with unread messages that are watched; those of more are seen by what they send. */
const READERS_MAX = 10_000
/** Entries of the audit chain that may wait to be looked at; beyond, what S2 did cannot be told from what others did any more. */
const ENTRIES_MAX = 5_000

const NEW_MESSAGES = `
  SELECT id, conversation_id, from_session, to_session, read, coalesce(instr(metadata, ?) > 0, 0) AS isOurs
  FROM messages WHERE id > ? AND id <= ${ID_MAX} ORDER BY id LIMIT +?`
/** With a bare parameter SQLite would compile it again for each reader. */
const OLDEST_UNREAD = `
  SELECT min(id) AS id FROM messages WHERE read = 0 AND conversation_id = +? AND to_session = +?`
/** By steps in the index of unread messages: what lies in between costs nothing. */
const WITH_UNREAD = `
  WITH RECURSIVE with_unread (id) AS (
    SELECT min(conversation_id) FROM messages WHERE read = 0
    UNION ALL
    SELECT (SELECT min(conversation_id) FROM messages WHERE read = 0 AND conversation_id > with_unread.id)
      FROM with_unread WHERE with_unread.id IS NOT NULL LIMIT +?
  )
  SELECT id FROM with_unread WHERE id IS NOT NULL`
const OWN_ACTS = `
  SELECT s2_audit.action, named.value AS message
  FROM s2_audit, json_each(details, CASE s2_audit.action WHEN 'send' THEN '$.message' ELSE '$.messages' END) AS named
  WHERE seq > ? AND s2_audit.action IN ('send', 'ack', 'dead_letter', 'import')`

interface MessageRow {
  readonly id: number
  readonly conversation_id: unknown
  readonly from_session: unknown
  readonly to_session: unknown
  readonly read: unknown
  readonly isOurs: 0 | 1
}

/** A message that S2 sent or acked for an agent, gave up, or brought over from another file, read or not. */
interface OwnAct {
  readonly action: 'send' | 'ack' | 'dead_letter' | 'import'
  readonly message: number
}

/**
 * What foreign writers do in the table of messages: whose agent sent one, and whose marked one as read. All that S2 sends and
 * marks for agents is in its audit chain, and what it says of its own accord has a mark of its own; the rest is theirs.
 * Costs the new messages and a step for each reader who has some unread, however many messages there are.
 */
export class ForeignActs {
  readonly #connection: SqliteConnection
  readonly #messages: MessageTable
  readonly #malformed: MalformedRows
  /** Up to which message, and which entry of the chain, all was looked at. */
  #message: number | undefined
  #entry = 0
  /** What S2 sent and acked itself since all foreign messages had been looked at. */
  readonly #own = { send: new Set<number>(), ack: new Set<number>() }
  /** The oldest unread message of each reader at the last look; undefined where that is to be found anew. */
  #oldest: Map<SessionId, number> | undefined

  constructor({ connection, messages }: Tables, malformed: MalformedRows) {
    this.#connection = connection
    this.#messages = messages
    this.#malformed = malformed
  }

  /**
   * Sessions whose agents sent or read something since the last look; the first look finds none. Call it within a read
   * transaction, when others have committed something. `isMore`: look again soon.
   */
  look(): { readonly sessions: ReadonlySet<SessionId>; readonly isMore: boolean } {
    if (this.#message === undefined) this.#skipToNow()
    const rows = this.#connection.all<MessageRow>(NEW_MESSAGES, OWN_MARK, this.#message ?? 0, MESSAGES_AT_ONCE)
    const oldest = this.#oldest ?? this.#findOldest()
    const reads = this.#readsOf(oldest)
    if (rows.length > 0 || reads.size > 0) this.#readOwnActs()
    const sessions = new Set<SessionId>()
    for (const [session, message] of reads) if (!this.#own.ack.has(message)) sessions.add(session)
    for (const row of rows) this.#lookAt(row, oldest, sessions)
    const isMore = rows.length === MESSAGES_AT_ONCE
    this.#message = rows.at(-1)?.id ?? this.#message
    this.#oldest = oldest
    this.#entry = this.#newestEntry()
    if (!isMore) this.#forgetOwnActs()
    return { sessions, isMore }
  }

  /** Adds who sent a new message, and who has read it already; one that is unread is watched from now on. */
  #lookAt(row: MessageRow, oldest: Map<SessionId, number>, sessions: Set<SessionId>): void {
    const { id, conversation_id: conversation, read } = row
    if (row.isOurs === 0 && !this.#own.send.has(id)) {
      const sender = sessionOf(conversation, row.from_session)
      if (sender === null) this.#malformed.report('message', id)
      else sessions.add(sender)
    }
    if (read === 1 && this.#own.ack.has(id)) return
    const reader = sessionOf(conversation, row.to_session)
    if (reader === null) return
    if (read === 1) sessions.add(reader)
    else if (!oldest.has(reader) && oldest.size < READERS_MAX) oldest.set(reader, id)
  }

  /** Nobody else has committed anything. Where S2 itself did so much that a look would cost too much, that is passed over. */
  pass(): void {
    if (this.#message !== undefined && this.#newestEntry() - this.#entry > ENTRIES_MAX) this.#skipToNow()
  }

  #skipToNow(): void {
    this.#message = this.#messages.newest()
    this.#entry = this.#newestEntry()
    this.#oldest = undefined
    this.#forgetOwnActs()
  }

  #newestEntry(): number {
    return this.#connection.get<{ seq: number | null }>('SELECT max(seq) AS seq FROM s2_audit')?.seq ?? 0
  }

  #findOldest(): Map<SessionId, number> {
    const oldest = new Map<SessionId, number>()
    for (const { id } of this.#connection.all(WITH_UNREAD, READERS_MAX / 2)) {
      for (const session of [sessionOf(id, 'a'), sessionOf(id, 'b')]) {
        const message = session === null ? null : this.#oldestOf(session)
        if (session !== null && message !== null) oldest.set(session, message)
      }
    }
    return oldest
  }

  #oldestOf(session: SessionId): number | null {
    const found = this.#connection.get<{ id: number | null }>(OLDEST_UNREAD, conversationOf(session), sideOf(session))
    return found?.id ?? null
  }

  /** Readers whose oldest unread message was read. One that was removed was not; what is the oldest now is watched next. */
  #readsOf(oldest: Map<SessionId, number>): Map<SessionId, number> {
    const reads = new Map<SessionId, number>()
    for (const [session, message] of oldest) {
      const now = this.#oldestOf(session)
      if (now === message) continue
      if (now === null) oldest.delete(session)
      else oldest.set(session, now)
      const isRead = this.#connection.get('SELECT 1 FROM messages WHERE id = ? AND read = 1', message) !== undefined
      if (isRead) reads.set(session, message)
    }
    return reads
  }

  #readOwnActs(): void {
    for (const { action, message } of this.#connection.all<OwnAct>(OWN_ACTS, this.#entry)) {
      if (action === 'send' || action === 'import') this.#own.send.add(message)
      if (action !== 'send') this.#own.ack.add(message)
    }
  }

  #forgetOwnActs(): void {
    this.#own.send.clear()
    this.#own.ack.clear()
  }
}

function sessionOf(conversation: unknown, side: unknown): SessionId | null {
  if (typeof conversation !== 'string' || !isConversationId(conversation)) return null
  return side === 'a' || side === 'b' ? sessionId(conversation, side) : null
}
