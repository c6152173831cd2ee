import { hash } from 'node:crypto'
import { S2Error } from '#fleet/errors.ts'
import {
  lengthOf,
  type Mark,
  type Message,
  type MessageDraft,
  READ_MAX,
  type StoredMessage,
  sendAct,
  type WaitingMessage,
} from '#fleet/message.ts'
import { type Addressee, checkPost, recipientsOf, type Writer } from '#fleet/peer-messages.ts'
import { redact } from '#fleet/redact.ts'
import { isConversationId, parseSession, partnerOf, type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { withoutDelivery } from '../../message-deliveries.ts'
import type { SqliteConnection, Value } from '../file/connection.ts'
import {
  fromPythonMetadata,
  fromPythonTime,
  type OwnMark,
  pythonMetadata,
  pythonTimeOfMicros,
} from '../python/python-format.ts'
import type { AuditChainTable } from './audit-chain.ts'
import type { ConversationTable } from './conversations.ts'
import type { MalformedRows } from './malformed-rows.ts'
import { MessageStamps } from './message-stamps.ts'
import { isSameDraftPrint, type OldSends, oldSendsOf } from './old-sends.ts'

interface MessageRow {
  readonly id: number
  readonly conversation_id: unknown
  readonly from_session: unknown
  readonly to_session: unknown
  readonly message: unknown
  readonly metadata: unknown
  readonly timestamp: unknown
  readonly read: unknown
  readonly state: 'delivered' | 'leased' | null
  readonly dead_at: number | null
}

/** The highest id that JavaScript can count to. A foreign writer may choose higher ones: those rows are passed over. */
export const ID_MAX = Number.MAX_SAFE_INTEGER

const SELECT = `
  SELECT m.id, m.conversation_id, m.from_session, m.to_session, m.message, m.metadata, m.timestamp, m.read, d.state, d.dead_at
  FROM messages m LEFT JOIN s2_deliveries d ON d.message = m.id`

const INSERT = `
  INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp, read)
    VALUES (?, ?, ?, ?, ?, ?, ?)`
const INSERT_POST = 'INSERT INTO s2_posts (first, message) VALUES (?, ?)'
const INSERT_SEND = 'INSERT INTO s2_sends (sender, key, draft, message) VALUES (?, ?, ?, ?)'

/** SQLite keeps the type of a value apart from it, so that no text is read for this. */
const WAITING = `
  SELECT m.id, m.from_session, m.timestamp, d.state
  FROM messages m LEFT JOIN s2_deliveries d ON d.message = m.id
  WHERE m.conversation_id = ? AND m.to_session = ? AND m.read = 0 AND m.id > ? AND m.id <= ${ID_MAX}
    AND m.from_session IN ('a', 'b') AND typeof(m.message) = 'text'
  ORDER BY m.id LIMIT +?`

// Constants, since a text that is made anew is hashed anew to find its statement, before every message that is pushed
const ALL = `${SELECT} WHERE m.id > ? AND m.id <= ${ID_MAX} ORDER BY m.id LIMIT +?`
const UNACKED = `${SELECT} WHERE m.conversation_id = ? AND m.to_session = ? AND m.read = 0 AND m.id > ? AND m.id <= ${ID_MAX}
  ORDER BY m.id LIMIT +?`

/** So few rows are read at once, which costs less than one by one. */
const FEW = 16

/** Messages of one read, and the id to go on from, which counts malformed rows too. */
export interface MessageBatch {
  readonly messages: readonly StoredMessage[]
  readonly last: number
  readonly isFull: boolean
}

/** A message of another database, with its key and its hash where S2 sent it there, or else a key made for it. */
export interface ForeignMessage {
  readonly from: SessionId
  readonly text: string
  readonly action: string | null
  readonly files: readonly string[]
  /** As the Python bridge writes it. */
  readonly timestamp: string
  readonly isRead: boolean
  readonly writer: Writer | null
  readonly key: string
  readonly draft: Uint8Array | null
}

/** Rows with ids on one side of those that SQLite gives. The ids are text: JavaScript would round them. */
export interface OddIds {
  readonly side: 'below' | 'above'
  readonly limit: number
  readonly count: number
  readonly unread: number
  readonly lowest: string
  readonly highest: string
}

/** What sessions send to each other, in the table that they share with the Python bridge. */
export class MessageTable {
  readonly #connection: SqliteConnection
  readonly #conversations: ConversationTable
  readonly #chain: AuditChainTable
  readonly #oldSends: OldSends
  readonly #clock: Clock
  readonly #malformed: MalformedRows
  readonly #stamps: MessageStamps

  constructor(
    connection: SqliteConnection,
    conversations: ConversationTable,
    chain: AuditChainTable,
    clock: Clock,
    malformed: MalformedRows,
  ) {
    this.#connection = connection
    this.#conversations = conversations
    this.#chain = chain
    this.#oldSends = oldSendsOf(connection)
    this.#clock = clock
    this.#malformed = malformed
    this.#stamps = new MessageStamps(connection, clock)
  }

  /** A transaction begins. */
  begin(): void {
    this.#stamps.begin()
  }

  committed(): void {
    this.#stamps.committed()
  }

  /** Sends a clean draft with its key. Answers whether the message is new. */
  send(
    from: SessionId,
    key: string,
    draft: Required<MessageDraft>,
  ): { readonly message: Message; readonly isNew: boolean } {
    const print = fingerprint(draft)
    const earlier = this.#earlier(from, key)
    if (earlier !== undefined) return { message: this.#repeatedSend(from, key, draft, print, earlier), isNew: false }
    this.#conversations.demandLive(parseSession(from).conversation)
    const message = this.post(from, draft)
    this.#connection.run(INSERT_SEND, from, key, print, message.id)
    this.#chain.append(sendAct(from, message))
    return { message, isNew: true }
  }

  /** Sends a clean draft with its key to all who are meant. Answers whether the messages are new. */
  sendToPeers(
    from: SessionId,
    to: Addressee,
    key: string,
    draft: Required<MessageDraft>,
  ): { readonly messages: readonly Message[]; readonly isNew: boolean } {
    const print = fingerprint(draft, to)
    const earlier = this.#earlier(from, key)
    if (earlier !== undefined) return { messages: this.#repeatedPost(from, key, draft, print, earlier), isNew: false }
    this.#conversations.demandLive(parseSession(from).conversation)
    const recipients = recipientsOf(from, to, this.#conversations.live())
    checkPost(draft, recipients)
    const messages = recipients.map(({ to: reader, writer }) => this.post(partnerOf(reader), draft, { writer }))
    const first = messages[0]?.id as number // nobody is `not_found`
    this.#connection.run(INSERT_SEND, from, key, print, first)
    for (const message of messages) {
      if (message.id !== first) this.#connection.run(INSERT_POST, first, message.id)
      this.#chain.append(sendAct(from, message))
    }
    return { messages, isNew: true }
  }

  /** Sends what S2 has to say itself, with a key that its sender has not used; answers whether it did. */
  sendOnce(from: SessionId, key: string, { text, action = null, files = [] }: MessageDraft): boolean {
    return !this.hasSend(from, key) && this.send(from, key, { text, action, files }).isNew
  }

  /** Takes over a message of another database; answers its id, or null where its sender has used its key here already. */
  takeOver(message: ForeignMessage): number | null {
    const { from, key, timestamp, isRead, writer } = message
    const sender = writer?.session ?? from
    if (this.hasSend(sender, key)) return null
    const { conversation, side } = parseSession(from)
    const draft = { text: redact(message.text), action: message.action, files: message.files.map(redact) }
    const id = this.#connection.insert(
      INSERT,
      conversation,
      side,
      side === 'a' ? 'b' : 'a',
      draft.text,
      pythonMetadata(draft.action === null ? null : redact(draft.action), draft.files, { writer }),
      timestamp,
      isRead ? 1 : 0,
    )
    if (id > ID_MAX) throw idsSpent()
    this.#connection.run(INSERT_SEND, sender, key, message.draft ?? fingerprint(draft), id)
    return id
  }

  /** Whether a sender has used a key. */
  hasSend(from: SessionId, key: string): boolean {
    return this.#earlier(from, key) !== undefined
  }

  #earlier(from: SessionId, key: string): EarlierSend | undefined {
    const earlier = this.#connection.get<EarlierSend>(
      'SELECT draft, message FROM s2_sends WHERE sender = ? AND key = ?',
      from,
      key,
    )
    return earlier ?? (this.#oldSends.isAny() ? this.#oldSends.find(from, key) : undefined)
  }

  /**
   * Writes a message to the partner of `from`; checks nothing. `mark` says that S2 sends it of its own accord, and about what;
   * `writer` who else wrote it.
   */
  post(
    from: SessionId,
    { text, action = null, files = [] }: MessageDraft,
    { mark = null, writer = null }: { readonly mark?: OwnMark | null; readonly writer?: Writer | null } = {},
  ): Message {
    const { conversation, side } = parseSession(from)
    const to = partnerOf(from)
    const stamp = this.#stamps.next()
    const id = this.#connection.insert(
      INSERT,
      conversation,
      side,
      side === 'a' ? 'b' : 'a',
      text,
      pythonMetadata(action, files, { mark, writer }),
      pythonTimeOfMicros(stamp),
      0,
    )
    if (id > ID_MAX) throw idsSpent()
    this.#stamps.wrote(id)
    return { id, from, to, ...senderOf(writer), text, action, files, sentAt: Math.floor(stamp / 1000) }
  }

  /** Moves messages forward; answers the ids that moved. */
  mark(reader: SessionId, ids: readonly number[], mark: Mark): number[] {
    const { conversation, side } = parseSession(reader)
    const now = this.#clock.wall()
    const moved = ids.filter((id) => {
      if (mark === 'acked') return this.#ack(id, conversation, side, now)
      const isWaiting = this.#connection.get(
        'SELECT 1 FROM messages WHERE id = ? AND conversation_id = ? AND to_session = ? AND read = 0',
        id,
        conversation,
        side,
      )
      return isWaiting !== undefined && this.#connection.run(ADVANCE[mark], id, now) > 0
    })
    if (mark === 'acked' && moved.length > 0) {
      this.#chain.append({ actor: reader, action: 'ack', details: { messages: moved } })
    }
    return moved
  }

  #ack(id: number, conversation: string, side: string, now: number): boolean {
    const changed = this.#connection.run(
      'UPDATE messages SET read = 1 WHERE id = ? AND conversation_id = ? AND to_session = ? AND read = 0',
      id,
      conversation,
      side,
    )
    if (changed > 0) this.#connection.run(ACKED, id, now)
    return changed > 0
  }

  unacked(reader: SessionId, after: number, limit: number): MessageBatch {
    const { conversation, side } = parseSession(reader)
    return this.#batch(UNACKED, [conversation, side, after], after, limit)
  }

  waiting(reader: SessionId, after: number, limit: number): WaitingMessage[] {
    const { conversation, side } = parseSession(reader)
    const rows = this.#connection.all<Pick<MessageRow, 'id' | 'timestamp' | 'state'> & { from_session: 'a' | 'b' }>(
      WAITING,
      conversation,
      side,
      after,
      limit,
    )
    return rows.map(({ id, from_session: from, timestamp, state }) => {
      const sentAt = fromPythonTime(timestamp) ?? 0
      return { id, from: sessionId(conversation, from), sentAt, delivery: state ?? 'queued' }
    })
  }

  all(after: number, limit: number): MessageBatch {
    return this.#batch(ALL, [after], after, limit)
  }

  /** Of the next `limit` messages those whose text contains a word; the others are not decoded. */
  mentioning(word: string, after: number, limit: number): MessageBatch {
    const window = `SELECT id FROM messages WHERE id > ? AND id <= ${ID_MAX} ORDER BY id LIMIT +?`
    const seen = this.#connection.get<{ last: number | null; count: number }>(
      `SELECT max(id) AS last, count(*) AS count FROM (${window})`,
      after,
      limit,
    )
    const last = seen?.last ?? after
    const batch = this.#batch(
      `${SELECT} WHERE m.id > ? AND m.id <= ? AND instr(m.message, ?) > 0 ORDER BY m.id LIMIT +?`,
      [after, last, word],
      after,
      limit,
    )
    return batch.isFull ? batch : { messages: batch.messages, last, isFull: seen?.count === limit }
  }

  /** Forgets how far messages had come that readers of the Python bridge have read; answers how many. */
  prune(): number {
    this.#connection.run('DELETE FROM s2_posts WHERE message NOT IN (SELECT id FROM messages)')
    return this.#connection.run(
      `DELETE FROM s2_deliveries WHERE acked_at IS NULL AND dead_at IS NULL
        AND (SELECT read FROM messages WHERE id = s2_deliveries.message) IS NOT 0`,
    )
  }

  /** The highest id; 0 where there is no message. */
  newest(): number {
    const newest = `SELECT max(id) AS id FROM messages WHERE id BETWEEN 0 AND ${ID_MAX}`
    return this.#connection.get<{ id: number | null }>(newest)?.id ?? 0
  }

  /** Rows whose ids are none that SQLite would give: they are passed over. */
  oddIds(): OddIds[] {
    return ODD_SIDES.flatMap(({ side, limit, sql }) => {
      const found = this.#connection.get<Omit<OddIds, 'side' | 'limit'>>(sql)
      return found === undefined || found.count === 0 ? [] : [{ side, limit, ...found }]
    })
  }

  /** Row by row where there may be many, as no more than `READ_MAX` of them may lie in memory. */
  #batch(sql: string, values: readonly Value[], after: number, limit: number): MessageBatch {
    const messages: StoredMessage[] = []
    let last = after
    let count = 0
    let length = 0
    const rows =
      limit <= FEW
        ? this.#connection.all<MessageRow>(sql, ...values, limit)
        : this.#connection.each<MessageRow>(sql, ...values, limit)
    for (const row of rows) {
      last = row.id
      count += 1
      const message = messageOf(row)
      if (message === undefined) this.#malformed.report('message', row.id)
      else {
        messages.push(message)
        length += lengthOf(message)
      }
      if (length >= READ_MAX) break
    }
    return { messages, last, isFull: count === limit || length >= READ_MAX }
  }

  #repeatedSend(
    from: SessionId,
    key: string,
    draft: Required<MessageDraft>,
    print: Uint8Array,
    earlier: EarlierSend,
  ): Message {
    demandSameDraft(from, key, print, earlier)
    // the row is in a segment, or a foreign writer removed it: the answer is still the first message
    return (
      this.#find(earlier.message) ?? {
        id: earlier.message,
        from,
        to: partnerOf(from),
        ...draft,
        sentAt: this.#clock.wall(),
      }
    )
  }

  /** What is left of the messages that were posted with this key; their readers are told by the first of them at least. */
  #repeatedPost(
    from: SessionId,
    key: string,
    draft: Required<MessageDraft>,
    print: Uint8Array,
    earlier: EarlierSend,
  ): Message[] {
    const first = this.#repeatedSend(from, key, draft, print, earlier)
    const rest = this.#connection.all<{ message: number }>(
      'SELECT message FROM s2_posts WHERE first = ? ORDER BY message',
      earlier.message,
    )
    return [first, ...rest.flatMap(({ message }) => this.#find(message) ?? [])]
  }

  /** A message with what its metadata say of where it comes from; null where there is none that can be read. */
  findWhole(
    id: number,
  ): { readonly message: StoredMessage; readonly writer: Writer | null; readonly isOwn: boolean } | null {
    const row = this.#connection.get<MessageRow>(`${SELECT} WHERE m.id = ?`, id)
    const message = row === undefined ? undefined : messageOf(row)
    if (message === undefined) return null
    const { writer, isOwn } = fromPythonMetadata(row?.metadata)
    return { message, writer, isOwn }
  }

  #find(id: number): Message | null {
    const row = this.#connection.get<MessageRow>(`${SELECT} WHERE m.id = ?`, id)
    const message = row === undefined ? undefined : messageOf(row)
    return message === undefined ? null : withoutDelivery(message)
  }
}

interface EarlierSend {
  readonly draft: Uint8Array
  readonly message: number
}

function demandSameDraft(from: SessionId, key: string, print: Uint8Array, earlier: EarlierSend): void {
  if (isSameDraftPrint(print, earlier.draft)) return
  throw new S2Error('conflict', `${from} has sent another message with the key ${JSON.stringify(key)}`, {
    next: 'use a new key for a new message',
  })
}

/** So many rows with odd ids are looked at: it is done whenever a foreign writer has committed. */
const ODD_MAX = 1_000

const ODD_SIDES = [
  { side: 'below', limit: 1, sql: oddSql('id < 1', 'ASC') },
  { side: 'above', limit: ID_MAX, sql: oddSql(`id > ${ID_MAX}`, 'DESC') },
] as const

function oddSql(where: string, order: 'ASC' | 'DESC'): string {
  return `SELECT count(*) AS count, coalesce(sum(read = 0), 0) AS unread, CAST(min(id) AS TEXT) AS lowest, CAST(max(id) AS TEXT) AS highest
    FROM (SELECT id, read FROM messages WHERE ${where} ORDER BY id ${order} LIMIT ${ODD_MAX})`
}

function idsSpent(): S2Error {
  return new S2Error('unavailable', `the table of messages has ids above ${ID_MAX}: a new message would have none`, {
    next: `remove the rows with those ids, and lower the number of 'messages' in sqlite_sequence to the highest of the rest`,
  })
}

/** Delivery states only advance: `leased` stays. */
const ADVANCE = {
  delivered: "INSERT OR IGNORE INTO s2_deliveries (message, state, delivered_at) VALUES (?, 'delivered', ?)",
  leased: `INSERT INTO s2_deliveries (message, state, leased_at, leases) VALUES (?, 'leased', ?, 1)
    ON CONFLICT (message) DO UPDATE SET state = 'leased', leased_at = excluded.leased_at, leases = max(1, leases)
      WHERE state <> 'leased'`,
} as const
const ACKED = `INSERT INTO s2_deliveries (message, state, acked_at) VALUES (?, 'delivered', ?)
  ON CONFLICT (message) DO UPDATE SET acked_at = excluded.acked_at`

function fingerprint({ text, action, files }: Required<MessageDraft>, to: Addressee | null = null): Uint8Array {
  const addressed = to === null ? [] : 'role' in to ? ['role', to.role] : ['agent', to.agent]
  return hash('sha256', JSON.stringify([text, action, files, ...addressed]), 'buffer')
}

/** A message as it is shown, delivered and acted on. The Python bridge and others write here too, and know fewer secrets. */
function messageOf(row: MessageRow): StoredMessage | undefined {
  const { id, conversation_id: conversation, from_session: from, to_session: to, message: text } = row
  if (typeof conversation !== 'string' || !isConversationId(conversation)) return undefined
  if ((from !== 'a' && from !== 'b') || (to !== 'a' && to !== 'b') || typeof text !== 'string') return undefined
  const { action, files, writer } = fromPythonMetadata(row.metadata)
  return {
    id,
    from: sessionId(conversation, from),
    to: sessionId(conversation, to),
    ...senderOf(writer),
    text: redact(text),
    action: action === null ? null : redact(action),
    files: files.map(redact),
    sentAt: fromPythonTime(row.timestamp) ?? 0,
    delivery: row.read === 1 && row.dead_at === null ? 'acked' : (row.state ?? 'queued'),
  }
}

function senderOf(writer: Writer | null): Pick<Message, 'sender'> {
  return writer === null || writer.agent === null ? {} : { sender: redact(writer.agent) }
}
