import { textHead } from '#fleet/cut-text.ts'
import { conversationEnded, EVERY_CHANNEL } from '#fleet/incident.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import type { Clock } from '#runtime/clock.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import { fromPythonTime, OWN_MARK, pythonTime } from './python-format.ts'

/** How often it is looked for, milliseconds. */
const LOOK_MS = 60_000
/** What ended longer ago is history, milliseconds. */
const NEWS_MS = 86_400_000
/** Conversations with unread messages that are looked at. */
const CONVERSATIONS_MAX = 10_000
/** Unread messages of one conversation that are searched for tasks. */
const SEARCHED_MAX = 1_000
/** Characters of a name or role. */
const NAME_MAX = 60

/** Workers' conversations come to life again, so what is unread there waits; S2's own messages about tasks are nobody's loss. */
const ENDED = `
  WITH RECURSIVE with_unread (id) AS (
    SELECT min(conversation_id) FROM messages WHERE read = 0
    UNION ALL
    SELECT (SELECT min(conversation_id) FROM messages WHERE read = 0 AND conversation_id > with_unread.id)
      FROM with_unread WHERE with_unread.id IS NOT NULL LIMIT +?
  )
  SELECT conversations.id, conversations.expires_at AS ends FROM with_unread JOIN conversations ON conversations.id = with_unread.id
    WHERE conversations.expires_at >= +? AND conversations.expires_at < +?
      AND NOT EXISTS (SELECT 1 FROM s2_workers WHERE s2_workers.conversation = conversations.id)
      AND NOT EXISTS (SELECT 1 FROM s2_incidents WHERE cause = 'conversation_ended:' || conversations.id)`
const UNREAD = `
  SELECT count(*) AS count FROM messages
    WHERE conversation_id = +? AND to_session = +? AND read = 0 AND coalesce(instr(metadata, ?), 0) = 0`

/** Tells people of conversations that have ended with mail that nobody can read any more, each once. */
export class EndedConversations {
  readonly #writer: DatabaseWriter
  readonly #clock: Clock
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(writer: DatabaseWriter, clock: Clock) {
    this.#writer = writer
    this.#clock = clock
  }

  async tend(): Promise<void> {
    const now = this.#clock.now()
    if (now - this.#lookedAt < LOOK_MS) return
    this.#lookedAt = now
    const ended = this.#find()
    if (ended.length > 0) await this.#writer.groupCommit.write(() => ended.forEach((id) => void this.#tell(id)))
  }

  /** What ended before S2 first wrote to this database was nobody's business of S2. */
  #find(): string[] {
    const { connection } = this.#writer.tables
    const wall = this.#clock.wall()
    const begun = connection.get<{ at: number | null }>('SELECT min(applied_at) AS at FROM s2_migrations')?.at ?? wall
    const since = Math.max(wall - NEWS_MS, begun)
    return connection
      .all<{ id: string; ends: unknown }>(ENDED, CONVERSATIONS_MAX, pythonTime(since).slice(0, 19), pythonTime(wall))
      .filter(({ ends }) => (fromPythonTime(ends) ?? 0) > since)
      .map(({ id }) => id)
  }

  #tell(conversation: string): void {
    const { incidents } = this.#writer.tables
    const [a, b] = [sessionId(conversation, 'a'), sessionId(conversation, 'b')]
    const unread = { a: this.#unread(conversation, 'a'), b: this.#unread(conversation, 'b') }
    if (unread.a + unread.b === 0) return
    const names = { a: this.#nameOf(a), b: this.#nameOf(b) }
    const incident = conversationEnded(conversation, names, unread, this.#tasksTooLate(b))
    incidents.openIncident(incident, [EVERY_CHANNEL])
  }

  #unread(conversation: string, side: 'a' | 'b'): number {
    const { connection } = this.#writer.tables
    return connection.get<{ count: number }>(UNREAD, conversation, side, OWN_MARK)?.count ?? 0
  }

  /** Assignments that its worker has not read, and that became no tasks. */
  #tasksTooLate(worker: SessionId): number {
    const { messages, tasks } = this.#writer.tables
    const unread = messages.unacked(worker, 0, SEARCHED_MAX).messages
    return unread.filter(({ text }) => {
      const taskMessage = readTaskMessage(text)
      return taskMessage?.type === 'task_assignment' && !tasks.isKnown(worker, taskMessage.task)
    }).length
  }

  #nameOf(session: SessionId): string {
    const end = this.#writer.tables.conversations.endOf(session)
    const name = end === null ? session : end.agent === session ? end.role : end.agent
    return textHead(name, NAME_MAX).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ')
  }
}
