import Database from 'better-sqlite3'
import { conversationOf, partnerOf, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { pythonMetadata, pythonTime } from '#store/sqlite/python/python-format.ts'

/** What agents of the Python bridge write into the database that they share with S2, of which they know nothing. */
export class PythonBridge implements Disposable {
  readonly #database: Database.Database
  readonly #clock: Pick<Clock, 'wall'>

  constructor(path: string, clock: Pick<Clock, 'wall'>) {
    this.#database = new Database(path)
    this.#clock = clock
  }

  /** A conversation of an orchestrator and a worker; answers the worker's session. */
  converse(id: string, role: string): SessionId {
    const token = 'f'.repeat(64)
    const [now, end] = [this.#now, pythonTime(this.#clock.wall() + 24 * 3_600_000)]
    const row = [id, 'orchestrator', role, token, token, now, end]
    this.#database.prepare('INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)').run(...row)
    return sessionId(id, 'b')
  }

  send(from: SessionId, text: string): void {
    this.#database
      .prepare(
        'INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp) VALUES (?, ?, ?, ?, ?, ?)',
      )
      .run(conversationOf(from), sideOf(from), sideOf(partnerOf(from)), text, pythonMetadata('info', []), this.#now)
  }

  /** What a reader has not read yet; it has now. */
  read(reader: SessionId): string[] {
    const of = [conversationOf(reader), sideOf(reader)]
    const unread = 'conversation_id = ? AND to_session = ? AND read = 0'
    const rows = this.#database
      .prepare<string[], { message: string }>(`SELECT message FROM messages WHERE ${unread}`)
      .all(...of)
    if (rows.length > 0) this.#database.prepare(`UPDATE messages SET read = 1 WHERE ${unread}`).run(...of)
    return rows.map(({ message }) => message)
  }

  /** A heartbeat, which carries a status. */
  beat(session: SessionId, status = 'working'): void {
    this.#database
      .prepare('INSERT OR REPLACE INTO session_status VALUES (?, ?, ?, ?)')
      .run(conversationOf(session), sideOf(session), status, this.#now)
  }

  get #now(): string {
    return pythonTime(this.#clock.wall())
  }

  [Symbol.dispose](): void {
    this.#database.close()
  }
}
