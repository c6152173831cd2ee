import { hash } from 'node:crypto'
import { roleHead } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Writer } from '#fleet/peer-messages.ts'
import { isConversationId, isObserver, type Side } from '#fleet/session-id.ts'
import { SqliteConnection } from '../file/connection.ts'
import { inspectSchema } from '../file/schema.ts'
import { refusalOf, sqliteCode } from '../file/sqlite-errors.ts'
import { fromPythonMetadata, fromPythonTime, pythonTime } from '../python/python-format.ts'

/** Whose database a file is: of the Python bridge, in whichever version; of the older protocol scripts; or of S2. */
export type SourceKind = 'bridge' | 'scripts' | 's2'

export interface SourceConversation {
  readonly id: string
  readonly roles: Readonly<Record<Side, string>>
  /** As S2 named them; null where it named none. */
  readonly agents: Readonly<Record<Side, string>> | null
  /** Null where the file has none that are any good. */
  readonly tokens: Readonly<Record<Side, string>> | null
  readonly createdAt: number | null
  readonly expiresAt: number | null
}

export interface SourceMessage {
  readonly row: number
  readonly conversation: string
  readonly from: Side
  readonly text: string
  readonly action: string | null
  readonly files: readonly string[]
  /** As the Python bridge writes it. */
  readonly timestamp: string
  readonly isRead: boolean
  /** Who wrote it, where S2 noted that another agent did; null in a file of others, who could say anything. */
  readonly writer: Writer | null
  /** The idempotency key by which S2 sent it, and the hash of its draft. */
  readonly send: { readonly key: string; readonly draft: Uint8Array } | null
  /** Tells it from all others but those with the same ends, text and time. */
  readonly print: string
}

/** A row that is no message, and why. */
export interface UnreadableRow {
  readonly unreadable: string
}

type Row = Readonly<Record<string, unknown>>
type ReadMarks = 'read' | 'by_reader' | 'none'

/** Words by which bridges and scripts call the two ends, and those that only count where no role is called so. */
const END_WORDS: ReadonlyMap<string, Side> = new Map([
  ['a', 'a'],
  ['b', 'b'],
  ['session_a', 'a'],
  ['session_b', 'b'],
])
const USUAL_ROLES: ReadonlyMap<string, Side> = new Map([
  ['orchestrator', 'a'],
  ['coordinator', 'a'],
  ['leader', 'a'],
  ['worker', 'b'],
  ['partner', 'b'],
])
const TOKEN_LENGTH_MIN = 32
/** Where a file names no time for a message. */
const NO_TIME = pythonTime(0)
/** A field with more bytes is not read: one that is longer than a string can be would end the import of all others. */
const FIELD_MAX = 4_000_000
/** Characters of an unknown sender's word that are shown. */
const WORD_MAX = 40

/** What a file of another bridge holds, whatever its columns are called. It is a copy of our own: indexes are made in it. */
export class SourceFile implements Disposable {
  readonly kind: SourceKind
  readonly #connection: SqliteConnection
  readonly #path: string
  readonly #conversations: string
  readonly #messages: string
  readonly #marks: ReadMarks

  private constructor(connection: SqliteConnection, path: string) {
    this.#connection = connection
    this.#path = path
    connection.pragma('trusted_schema = OFF')
    connection.pragma('synchronous = OFF')
    const found = connection.pragma('quick_check(1)')
    if (found !== 'ok') throw damaged(path, found)
    const columns = {
      conversations: columnsOf(connection, 'conversations'),
      messages: columnsOf(connection, 'messages'),
    }
    const isOurs = columnsOf(connection, 's2_migrations').size > 0
    if (isOurs) inspectSchema(connection, path)
    this.kind = isOurs ? 's2' : columns.messages.has('sender') ? 'scripts' : 'bridge'
    this.#conversations = conversationQuery(columns.conversations, isOurs, path)
    this.#messages = messageQuery(columns.messages, isOurs, path)
    this.#marks = columns.messages.has('read')
      ? 'read'
      : columns.messages.has('read_by_a') || columns.messages.has('read_by_b')
        ? 'by_reader'
        : 'none'
    for (const query of [this.#conversations, this.#messages]) connection.all(`${query} LIMIT 0`)
    makeIndex(connection, 's2_import_messages', 'messages (conversation_id)')
    if (isOurs) makeIndex(connection, 's2_import_sends', 's2_sends (message)')
  }

  /** Opens a copy; errors name the file that it was copied from. */
  static open(copy: string, path: string): SourceFile {
    let connection: SqliteConnection | undefined
    try {
      connection = new SqliteConnection(copy, { create: false })
      return new SourceFile(connection, path)
    } catch (error) {
      connection?.[Symbol.dispose]()
      throw refusalOfSource(error, path)
    }
  }

  /** Whether the file says at all what was read. */
  get knowsWhatWasRead(): boolean {
    return this.#marks !== 'none'
  }

  /** In the order of their rows; null for a row that is no conversation. */
  conversations(): (SourceConversation | null)[] {
    return this.#asked(() => this.#connection.all(this.#conversations).map(conversationOf))
  }

  /** The messages of a conversation in their order; nothing else may be asked meanwhile. */
  *messages(conversation: SourceConversation): Generator<SourceMessage | UnreadableRow> {
    const query = `${this.#messages} WHERE m.conversation_id = ? ORDER BY m.rowid`
    const rows = this.#connection.each(query, conversation.id)
    try {
      for (let row = this.#next(rows); row !== null; row = this.#next(rows)) yield this.#messageOf(row, conversation)
    } finally {
      rows.return?.()
    }
  }

  /** One of them again. */
  message(row: number, conversation: SourceConversation): SourceMessage {
    const found = this.#asked(() => this.#connection.get(`${this.#messages} WHERE m.rowid = ?`, row))
    return this.#messageOf(found ?? {}, conversation) as SourceMessage
  }

  /** Messages whose conversation is not in the file. */
  strayMessages(): number {
    const { count } = this.#asked(() =>
      this.#connection.get<{ count: number }>(
        'SELECT count(*) AS count FROM messages WHERE conversation_id NOT IN (SELECT id FROM conversations WHERE id IS NOT NULL)',
      ),
    ) ?? { count: 0 }
    return count
  }

  #next(rows: IterableIterator<Row>): Row | null {
    const { done, value } = this.#asked(() => rows.next())
    return done === true ? null : value
  }

  /** Failures name the file that they are of: they meet whoever has the other database at hand. */
  #asked<T>(question: () => T): T {
    try {
      return question()
    } catch (error) {
      throw refusalOfSource(error, this.#path)
    }
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]()
  }

  #messageOf(row: Row, conversation: SourceConversation): SourceMessage | UnreadableRow {
    const { id, sender, reader, text, metadata, action, time, read, read_a, read_b, key, draft, is_long } = row
    if (is_long === 1) return { unreadable: `with a field of more than ${FIELD_MAX / 1_000_000} MB` }
    if (typeof text !== 'string') return { unreadable: 'without a text' }
    const from = endOf(sender, conversation.roles)
    if (from === null) return { unreadable: `whose sender ${wordOf(sender)} is neither end of its conversation` }
    const to = from === 'a' ? 'b' : 'a'
    if (reader !== null && endOf(reader, conversation.roles) !== to) return { unreadable: 'sent to its own sender' }
    const about = fromPythonMetadata(metadata)
    const timestamp = timestampOf(time)
    return {
      row: Number(id),
      conversation: conversation.id,
      from,
      text,
      action: typeof action === 'string' ? action : about.action,
      files: about.files,
      timestamp,
      isRead: this.#marks === 'none' || isSet(this.#marks === 'read' ? read : to === 'a' ? read_a : read_b),
      writer: this.kind === 's2' ? about.writer : null,
      send: typeof key === 'string' && draft instanceof Uint8Array ? { key, draft } : null,
      print: printOf(conversation.id, from, to, text, timestamp),
    }
  }
}

/** What messages are compared by. */
export function printOf(conversation: unknown, from: unknown, to: unknown, text: unknown, timestamp: unknown): string {
  return hash('sha256', JSON.stringify([conversation, from, to, text, timestamp]), 'base64url')
}

function conversationQuery(columns: ReadonlySet<string>, isOurs: boolean, path: string): string {
  const table = { name: 'conversations', alias: 'c', columns, path }
  return `SELECT ${demand(table, ['id'])} AS id,
      ${demand(table, ['session_a_role', 'role_a'])} AS role_a, ${demand(table, ['session_b_role', 'role_b'])} AS role_b,
      ${pick(table, ['session_a_token', 'token_a'])} AS token_a, ${pick(table, ['session_b_token', 'token_b'])} AS token_b,
      ${pick(table, ['created_at'])} AS created_at, ${pick(table, ['expires_at'])} AS expires_at,
      ${isOurs ? 's.agent_a, s.agent_b' : 'NULL AS agent_a, NULL AS agent_b'}
    FROM conversations c ${isOurs ? 'LEFT JOIN s2_conversations s ON s.id = c.id' : ''} ORDER BY c.rowid`
}

function messageQuery(columns: ReadonlySet<string>, isOurs: boolean, path: string): string {
  const table = { name: 'messages', alias: 'm', columns, path }
  demand(table, ['conversation_id'])
  return `SELECT m.rowid AS id,
      ${demand(table, ['from_session', 'sender'])} AS sender, ${pick(table, ['to_session'])} AS reader,
      ${demand(table, ['message', 'content'])} AS text, ${pick(table, ['metadata'])} AS metadata,
      ${pick(table, ['action_type'])} AS action, ${pick(table, ['timestamp', 'created_at'])} AS time,
      ${pick(table, ['read'])} AS read, ${pick(table, ['read_by_a'])} AS read_a, ${pick(table, ['read_by_b'])} AS read_b,
      ${isOurs ? `s.key, iif(octet_length(s.draft) <= ${FIELD_MAX}, s.draft, NULL) AS draft` : 'NULL AS key, NULL AS draft'}, ${hasLongField(table)} AS is_long
    FROM messages m ${isOurs ? 'LEFT JOIN s2_sends s ON s.message = m.rowid' : ''}`
}

/** Columns of messages that are read. */
const MESSAGE_COLUMNS = [
  'from_session',
  'sender',
  'to_session',
  'message',
  'content',
  'metadata',
  'action_type',
] as const

/** Asked of the head of a row alone. `length` counts characters, and ends at the first that is zero. */
function hasLongField({ alias, columns }: SourceTable): string {
  const present = MESSAGE_COLUMNS.filter((name) => columns.has(name))
  return present.map((name) => `coalesce(octet_length(${alias}.${name}), 0) > ${FIELD_MAX}`).join(' OR ')
}

/** Of a table of this name; none for a view. */
function columnsOf(connection: SqliteConnection, table: string): Set<string> {
  const rows = connection.all<{ name: string }>(
    "SELECT c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table' AND s.name = ?",
    table,
  )
  return new Set(rows.map(({ name }) => name))
}

interface SourceTable {
  readonly name: string
  readonly alias: string
  readonly columns: ReadonlySet<string>
  readonly path: string
}

/** The first of these columns that the table has, as SQL; NULL where it has none, and where a field is too long. */
function pick({ alias, columns }: SourceTable, candidates: readonly string[]): string {
  const found = candidates.find((name) => columns.has(name))
  return found === undefined ? 'NULL' : `iif(octet_length(${alias}.${found}) <= ${FIELD_MAX}, ${alias}.${found}, NULL)`
}

function demand(table: SourceTable, candidates: readonly string[]): string {
  const found = pick(table, candidates)
  if (found !== 'NULL') return found
  const { name, columns, path } = table
  const lacks = candidates.length === 1 ? `no ${candidates[0]}` : `neither ${candidates.join(' nor ')}`
  throw noBridge(path, columns.size === 0 ? `it has no table ${name}` : `its table ${name} has ${lacks}`)
}

/** Of a copy of our own, which may have an index of this name of its own. */
function makeIndex(connection: SqliteConnection, name: string, columns: string): void {
  connection.exec(`DROP INDEX IF EXISTS ${name}; CREATE INDEX ${name} ON ${columns}`)
}

function refusalOfSource(error: unknown, path: string): S2Error {
  if (error instanceof S2Error) return error
  const code = sqliteCode(error)
  if (code === 'SQLITE_NOTADB') return noBridge(path, 'it is no database of SQLite')
  if (code === 'SQLITE_ERROR') return noBridge(path, reasonOf(error as Error))
  if (code?.startsWith('SQLITE_CORRUPT')) return damaged(path, error)
  if (code !== undefined) return refusalOf(error, path)
  return new S2Error('invalid', `${path} cannot be read: ${(error as Error).message}`, {
    next: `look into it with sqlite3 ${path}, and bring over a copy without what cannot be read`,
    cause: error,
  })
}

function reasonOf({ message }: Error): string {
  return /\browid\b/.test(message)
    ? 'its rows have no numbers (WITHOUT ROWID), so nobody knows in which order they were written'
    : message
}

function noBridge(path: string, why: string): S2Error {
  return new S2Error('invalid', `${path} is no database of a bridge: ${why}`, {
    next: 'name the file in which a bridge, or a script of the protocol, kept its conversations',
  })
}

function damaged(path: string, cause: unknown): S2Error {
  return new S2Error('unavailable', `${path} is damaged, so nothing is taken from it`, {
    next: `save what can be read of it: sqlite3 ${path} .recover | sqlite3 ${path}.mended; then import that file`,
    cause,
  })
}

function conversationOf(row: Row): SourceConversation | null {
  const { id, role_a, role_b, token_a, token_b, agent_a, agent_b } = row
  if (typeof id !== 'string' || !isConversationId(id) || isObserver(id)) return null
  const isToken = (token: unknown): token is string => typeof token === 'string' && token.length >= TOKEN_LENGTH_MIN
  return {
    id,
    roles: {
      a: typeof role_a === 'string' ? roleHead(role_a) : 'orchestrator',
      b: typeof role_b === 'string' ? roleHead(role_b) : 'worker',
    },
    agents: typeof agent_a === 'string' && typeof agent_b === 'string' ? { a: agent_a, b: agent_b } : null,
    tokens: isToken(token_a) && isToken(token_b) ? { a: token_a, b: token_b } : null,
    createdAt: instantOf(row.created_at),
    expiresAt: instantOf(row.expires_at),
  }
}

/** Which end a word names: as all call it, or by the role that it has here. */
function endOf(word: unknown, roles: Readonly<Record<Side, string>>): Side | null {
  if (typeof word !== 'string') return null
  const plain = word.trim().toLowerCase()
  const isRole = (side: Side): boolean => roles[side].trim().toLowerCase() === plain
  const role = isRole('a') === isRole('b') ? USUAL_ROLES.get(plain) : isRole('a') ? 'a' : 'b'
  return END_WORDS.get(plain) ?? role ?? null
}

function wordOf(sender: unknown): string {
  return typeof sender === 'string' ? JSON.stringify(sender.slice(0, WORD_MAX)) : 'is missing, which'
}

/** Milliseconds since 1970 of a time as Python, SQLite or a script writes it. */
function instantOf(time: unknown): number | null {
  if (typeof time !== 'number') return fromPythonTime(time)
  const ms = time < 1e11 ? time * 1000 : time
  return ms > 0 && ms < 8.64e15 ? Math.floor(ms) : null
}

function timestampOf(time: unknown): string {
  if (typeof time === 'string' && time.includes('T') && fromPythonTime(time) !== null) return time
  const ms = instantOf(time)
  return ms === null ? NO_TIME : pythonTime(ms)
}

function isSet(mark: unknown): boolean {
  return typeof mark === 'number' && mark !== 0
}
