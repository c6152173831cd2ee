import type { AuditedAct } from '#fleet/audit.ts'
import { type Conversation, type NewConversation, type OpenedConversation, roleHead } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import {
  CONVERSATION_PREFIX,
  isConversationId,
  OBSERVER_PREFIX,
  parseSession,
  type SessionId,
  type Side,
  sessionId,
} from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ConversationTokens } from '../../conversation-tokens.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { fromPythonTime, makeConversationId, makeToken, pythonTime } from '../python/python-format.ts'
import type { AuditChainTable } from './audit-chain.ts'
import type { MalformedRows } from './malformed-rows.ts'

interface ConversationRow {
  readonly rowid: number
  readonly id: unknown
  readonly role_a: unknown
  readonly role_b: unknown
  readonly created_at: unknown
  readonly expires_at: unknown
  readonly agent_a: string | null
  readonly agent_b: string | null
}

const SELECT = `
  SELECT c.rowid, c.id, c.session_a_role AS role_a, c.session_b_role AS role_b, c.created_at, c.expires_at,
    s.agent_a, s.agent_b
  FROM conversations c LEFT JOIN s2_conversations s ON s.id = c.id`

/** Milliseconds after which all rows are read again: some changes of foreign writers cannot be noticed otherwise. */
const RELOAD_MS = 60_000
/** Rows read in one step of that: the event loop is blocked for some milliseconds. */
const BATCH = 1_000

/** All conversations while they are read again, and how far; what changed since `version` is read after that. */
interface Reload {
  readonly known: Map<string, Conversation>
  readonly version: number
  readonly last: number
  rowid: number
}

/** A conversation of another database. */
export interface ForeignConversation {
  readonly id: string
  readonly roles: Readonly<Record<Side, string>>
  /** As S2 named them there; null where it named none. */
  readonly agents: Readonly<Record<Side, string>> | null
  /** Null: it gets new ones. */
  readonly tokens: Readonly<Record<Side, string>> | null
  readonly createdAt: number
  readonly expiresAt: number
}

/** The conversations of the database; live ones are kept in memory. */
export class ConversationTable implements ConversationTokens {
  readonly #connection: SqliteConnection
  readonly #chain: AuditChainTable
  readonly #clock: Clock
  readonly #malformed: MalformedRows
  /** Conversations that had not ended when all were read, in the order of their rows. */
  #known = new Map<string, Conversation>()
  #rowid = 0
  #version = 0
  #seen = ''
  #loadedAt = Number.NEGATIVE_INFINITY
  #reloading: Reload | undefined

  constructor(connection: SqliteConnection, chain: AuditChainTable, clock: Clock, malformed: MalformedRows) {
    this.#connection = connection
    this.#chain = chain
    this.#clock = clock
    this.#malformed = malformed
  }

  /** Does one step of reading all rows again, when it is time to. Answers whether another step follows now. */
  reloadStep(): boolean {
    const now = this.#clock.now()
    if (this.#reloading === undefined && now - this.#loadedAt <= RELOAD_MS) return false
    this.#reloading ??= { known: new Map(), version: this.#newestVersion(), last: this.#lastRow(), rowid: 0 }
    const { known, version, last, rowid } = this.#reloading
    const rows = this.#connection.all<ConversationRow>(
      `${SELECT} WHERE c.rowid > ? AND c.rowid <= ? ORDER BY c.rowid LIMIT +?`,
      rowid,
      last,
      BATCH,
    )
    const since = pythonTime(this.#clock.wall()).slice(0, 19)
    this.#takeIn(
      rows.filter(({ expires_at }) => String(expires_at) >= since), // as text, see #reload
      known,
    )
    this.#reloading.rowid = rows.at(-1)?.rowid ?? last
    if (rows.length === BATCH) return true
    this.#reloading = undefined
    this.#known = known
    this.#version = version
    this.#rowid = last
    this.#seen = ''
    this.#loadedAt = now
    return false
  }

  /** The live conversations, by age. Only what changed since the last call is read. */
  live(): Conversation[] {
    this.#refresh()
    const now = this.#clock.wall()
    const live: Conversation[] = []
    let isSorted = true
    let youngest = 0
    for (const conversation of this.#known.values()) {
      if (conversation.expiresAt <= now) continue // kept in memory: the wall clock may be set back
      isSorted &&= youngest <= conversation.createdAt
      youngest = conversation.createdAt
      live.push(conversation)
    }
    return isSorted ? live : live.sort((one, other) => one.createdAt - other.createdAt)
  }

  /** Whether a conversation lives; the database is asked only where memory does not say yes. */
  isLive(id: string): boolean {
    const known = this.#known.get(id)
    if (known !== undefined && known.expiresAt > this.#clock.wall()) return true
    this.#refresh()
    return (this.#known.get(id)?.expiresAt ?? 0) > this.#clock.wall()
  }

  /** The same by its row alone, as it is at this moment: a change of a foreign writer is not always seen in memory. */
  isLiveNow(id: string): boolean {
    const row = this.#connection.get<{ expires_at: unknown }>('SELECT expires_at FROM conversations WHERE id = ?', id)
    return (fromPythonTime(row?.expires_at) ?? 0) > this.#clock.wall()
  }

  /** Answers when it ends; throws `not_found` or `expired`. */
  demandLive(id: string): number {
    const row = this.#connection.get<{ expires_at: unknown }>('SELECT expires_at FROM conversations WHERE id = ?', id)
    if (row === undefined)
      throw new S2Error('not_found', `there is no conversation ${id}`, { next: 'list them: s2 conversation list' })
    const expiresAt = fromPythonTime(row.expires_at) ?? 0
    if (expiresAt > this.#clock.wall()) return expiresAt
    throw new S2Error('expired', `conversation ${id} has ended`, {
      next: 'open a new one: s2 conversation create, or create_conversation of the Python bridge',
    })
  }

  openConversation({ roles, agents, lifetimeMs, isForObserver = false }: NewConversation): OpenedConversation {
    const id = makeConversationId(isForObserver ? OBSERVER_PREFIX : CONVERSATION_PREFIX)
    const key = this.#tokenKey()
    const tokens = { a: makeToken(key, id, 'a'), b: makeToken(key, id, 'b') }
    const createdAt = this.#clock.wall()
    const expiresAt = createdAt + Math.round(lifetimeMs)
    this.#connection.run(
      `INSERT INTO conversations
        (id, session_a_role, session_b_role, session_a_token, session_b_token, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)`,
      id,
      roles.a,
      roles.b,
      tokens.a,
      tokens.b,
      pythonTime(createdAt),
      pythonTime(expiresAt),
    )
    this.#touch(id, agents)
    this.#audit('conversation_opened', { conversation: id, agents })
    return { id, roles, agents, createdAt, expiresAt, tokens }
  }

  /** Takes over a conversation of another database; answers false, and does nothing, where its id is here already. */
  takeOver({ id, roles, agents, tokens, createdAt, expiresAt }: ForeignConversation): boolean {
    const key = this.#tokenKey()
    const isNew = this.#connection.run(
      `INSERT OR IGNORE INTO conversations
        (id, session_a_role, session_b_role, session_a_token, session_b_token, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)`,
      id,
      roles.a,
      roles.b,
      tokens?.a ?? makeToken(key, id, 'a'),
      tokens?.b ?? makeToken(key, id, 'b'),
      pythonTime(createdAt),
      pythonTime(expiresAt),
    )
    if (isNew > 0 && agents !== null) this.#touch(id, agents)
    return isNew > 0
  }

  renewConversation(id: string, lifetimeMs: number): Conversation {
    const ends = this.demandLive(id)
    const wanted = this.#clock.wall() + Math.round(lifetimeMs)
    if (wanted > ends) this.#setEnd(id, wanted)
    const conversation = this.#read(id)
    if (conversation === undefined) throw new S2Error('not_found', `conversation ${id} cannot be read`)
    this.#audit('conversation_renewed', { conversation: id, expiresAt: conversation.expiresAt })
    return conversation
  }

  endConversation(id: string): void {
    try {
      this.demandLive(id)
    } catch (error) {
      if (error instanceof S2Error && error.code === 'expired') return
      throw error
    }
    this.#setEnd(id, this.#clock.wall())
    this.#audit('conversation_ended', { conversation: id })
  }

  tokens(session: SessionId): string[] {
    const { conversation, side } = parseSession(session)
    this.demandLive(conversation)
    const former = this.#connection.get<{ token: string }>(
      'SELECT token FROM s2_former_tokens WHERE session = ? AND ends_at > ?',
      session,
      this.#clock.wall(),
    )
    return [this.#currentToken(conversation, side), ...(former === undefined ? [] : [former.token])]
  }

  rotateToken(session: SessionId, overlapMs: number): string {
    const { conversation, side } = parseSession(session)
    this.demandLive(conversation)
    const former = this.#currentToken(conversation, side)
    const token = makeToken(this.#tokenKey(), conversation, side)
    this.#connection.run(`UPDATE conversations SET ${TOKEN_COLUMN[side]} = ? WHERE id = ?`, token, conversation)
    this.#connection.run('DELETE FROM s2_former_tokens WHERE session = ?', session)
    if (overlapMs > 0) {
      this.#connection.run(
        'INSERT INTO s2_former_tokens (session, token, ends_at) VALUES (?, ?, ?)',
        session,
        former,
        this.#clock.wall() + Math.round(overlapMs),
      )
    }
    this.#audit('token_rotated', { session, overlapMs })
    return token
  }

  revive(id: string, lifetimeMs: number): boolean {
    const row = this.#connection.get<{ expires_at: unknown }>('SELECT expires_at FROM conversations WHERE id = ?', id)
    const wall = this.#clock.wall()
    const ends = fromPythonTime(row?.expires_at) ?? 0
    if (row === undefined) this.#insertAgain(id)
    const wanted = wall + Math.round(lifetimeMs)
    if (wanted > ends) this.#setEnd(id, wanted)
    this.#audit(ends > wall ? 'conversation_renewed' : 'conversation_revived', {
      conversation: id,
      expiresAt: Math.max(ends, wanted),
    })
    return ends > wall
  }

  isAlive(id: string): boolean {
    return this.isLive(id)
  }

  endFormerToken(session: SessionId): void {
    this.#connection.run('DELETE FROM s2_former_tokens WHERE session = ?', session)
  }

  nameWorker(id: string, agent: string, role: string): void {
    this.#connection.run('UPDATE conversations SET session_b_role = ? WHERE id = ?', role, id)
    this.#connection.run('UPDATE s2_conversations SET agent_b = ? WHERE id = ?', agent, id)
    this.#touch(id, { a: sessionId(id, 'a'), b: agent })
  }

  disown(session: SessionId): void {
    const { conversation, side } = parseSession(session)
    this.#connection.run(`UPDATE s2_conversations SET ${AGENT_COLUMN[side]} = ? WHERE id = ?`, session, conversation)
    this.#touch(conversation, { a: sessionId(conversation, 'a'), b: sessionId(conversation, 'b') })
  }

  /** The agent and the role of a session, also after its conversation has ended; null where there is none. */
  endOf(session: SessionId): { readonly agent: string; readonly role: string } | null {
    const { conversation, side } = parseSession(session)
    const known = this.#read(conversation)
    return known === undefined ? null : { agent: known.agents[side], role: known.roles[side] }
  }

  /** A conversation whose row a foreign writer deleted; the names of its ends are kept beside it. */
  #insertAgain(id: string): void {
    const key = this.#tokenKey()
    const now = pythonTime(this.#clock.wall())
    this.#connection.run(
      `INSERT INTO conversations
        (id, session_a_role, session_b_role, session_a_token, session_b_token, created_at, expires_at)
        SELECT ?, 'orchestrator', coalesce((SELECT role FROM s2_workers WHERE conversation = ?), 'worker'), ?, ?, ?, ?`,
      id,
      id,
      makeToken(key, id, 'a'),
      makeToken(key, id, 'b'),
      now,
      now,
    )
  }

  /** Forgets tokens whose overlap is over. */
  prune(): void {
    this.#connection.run('DELETE FROM s2_former_tokens WHERE ends_at <= ?', this.#clock.wall())
  }

  #currentToken(conversation: string, side: Side): string {
    return this.#connection.get<{ token: string }>(
      `SELECT ${TOKEN_COLUMN[side]} AS token FROM conversations WHERE id = ?`,
      conversation,
    )?.token as string
  }

  #audit(action: string, details: AuditedAct['details']): void {
    this.#chain.append({ actor: 'admin', action, details })
  }

  #tokenKey(): Uint8Array {
    return this.#connection.get<{ token_key: Uint8Array }>('SELECT token_key FROM s2_secrets')?.token_key as Uint8Array
  }

  #setEnd(id: string, at: number): void {
    this.#connection.run('UPDATE conversations SET expires_at = ? WHERE id = ?', pythonTime(at), id)
    this.#touch(id, { a: sessionId(id, 'a'), b: sessionId(id, 'b') })
  }

  /** Notes the change for all processes; `agents` count only where none are recorded yet. */
  #touch(id: string, agents: Readonly<Record<Side, string>>): void {
    this.#connection.run(
      `INSERT INTO s2_conversations (id, agent_a, agent_b, version)
        VALUES (?, ?, ?, (SELECT coalesce(max(version), 0) + 1 FROM s2_conversations))
        ON CONFLICT (id) DO UPDATE SET version = excluded.version`,
      id,
      agents.a,
      agents.b,
    )
  }

  #read(id: string): Conversation | undefined {
    const row = this.#connection.get<ConversationRow>(`${SELECT} WHERE c.id = ?`, id)
    return row === undefined ? undefined : this.#conversationOf(row)
  }

  /** Brings memory up to date with what any process committed. */
  #refresh(): void {
    const seen = `${this.#connection.dataVersion()}.${this.#connection.changes}`
    if (seen === this.#seen) return
    const last = this.#lastRow()
    if (last < this.#rowid || this.#loadedAt === Number.NEGATIVE_INFINITY) this.#reload()
    else this.#readChanges()
    this.#rowid = last
    this.#seen = seen
  }

  /** Forgets all that is in memory, since some of it was read in a transaction that was undone. */
  forgetAll(): void {
    this.#known.clear()
    this.#loadedAt = Number.NEGATIVE_INFINITY
    this.#reloading = undefined
    this.#seen = ''
  }

  /** Reads all at once: rows were deleted, or nothing was read yet. */
  #reload(): void {
    this.#reloading = undefined
    this.#version = this.#newestVersion()
    this.#known.clear()
    // compared as text, which is right for every time that Python writes; each time is checked again when it is parsed
    const since = pythonTime(this.#clock.wall()).slice(0, 19)
    const rows = this.#connection.all<ConversationRow>(`${SELECT} WHERE c.expires_at >= ? ORDER BY c.rowid`, since)
    this.#takeIn(rows, this.#known)
    this.#loadedAt = this.#clock.now()
  }

  #lastRow(): number {
    const found = this.#connection.get<{ rowid: number | null }>('SELECT max(rowid) AS rowid FROM conversations')
    return found?.rowid ?? 0
  }

  #newestVersion(): number {
    const found = this.#connection.get<{ version: number | null }>(
      'SELECT max(version) AS version FROM s2_conversations',
    )
    return found?.version ?? 0
  }

  #readChanges(): void {
    const added = this.#connection.all<ConversationRow>(`${SELECT} WHERE c.rowid > ? ORDER BY c.rowid`, this.#rowid)
    this.#takeIn(added, this.#known)
    const changed = this.#connection.all<ConversationRow & { version: number }>(
      `${SELECT.replace('SELECT', 'SELECT s.version,').replace('LEFT JOIN', 'JOIN')} WHERE s.version > ? ORDER BY s.version`,
      this.#version,
    )
    this.#takeIn(changed, this.#known)
    this.#version = changed.at(-1)?.version ?? this.#version
  }

  #takeIn(rows: readonly ConversationRow[], known: Map<string, Conversation>): void {
    for (const row of rows) {
      const conversation = this.#conversationOf(row)
      if (conversation !== undefined) known.set(conversation.id, conversation)
    }
  }

  #conversationOf(row: ConversationRow): Conversation | undefined {
    const { id, role_a, role_b, agent_a, agent_b } = row
    const createdAt = fromPythonTime(row.created_at)
    const expiresAt = fromPythonTime(row.expires_at)
    const isSound =
      typeof id === 'string' && isConversationId(id) && typeof role_a === 'string' && typeof role_b === 'string'
    if (!isSound || createdAt === null || expiresAt === null) {
      this.#malformed.report('conversation', row.rowid)
      return undefined
    }
    return {
      id,
      roles: { a: roleHead(role_a), b: roleHead(role_b) },
      agents: { a: agent_a ?? sessionId(id, 'a'), b: agent_b ?? sessionId(id, 'b') },
      createdAt,
      expiresAt,
    }
  }
}

const TOKEN_COLUMN = { a: 'session_a_token', b: 'session_b_token' } as const
const AGENT_COLUMN = { a: 'agent_a', b: 'agent_b' } as const
