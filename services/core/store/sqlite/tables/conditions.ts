import { type AgentCondition, type Condition, nextCondition } from '#fleet/agent-condition.ts'
import { conversationOf, parseSession, type SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { ConversationTable } from './conversations.ts'

const SELECT = 'SELECT session, state, why, until, since FROM s2_conditions'

/** What agents say of their places, one row a session that is not well. */
export class ConditionTable {
  readonly #connection: SqliteConnection
  readonly #conversations: Pick<ConversationTable, 'isLive'>
  readonly #clock: Clock

  constructor(connection: SqliteConnection, conversations: Pick<ConversationTable, 'isLive'>, clock: Clock) {
    this.#connection = connection
    this.#conversations = conversations
    this.#clock = clock
  }

  noteCondition(session: SessionId, condition: Condition | null): void {
    parseSession(session)
    if (condition === null) this.#connection.run('DELETE FROM s2_conditions WHERE session = ?', session)
    else {
      const before = this.#connection.get<AgentCondition>(`${SELECT} WHERE session = ?`, session) ?? null
      const { state, why, until, since } = nextCondition(before, session, condition, this.#clock.wall())
      this.#connection.run(
        'INSERT OR REPLACE INTO s2_conditions (session, state, why, until, since) VALUES (?, ?, ?, ?, ?)',
        session,
        state,
        why,
        until,
        since,
      )
    }
  }

  conditions(): AgentCondition[] {
    return this.#connection.all<AgentCondition>(`${SELECT} ORDER BY session`)
  }

  /** Forgets what was said before `time` in conversations that have ended; answers how many. */
  prune(time: number): number {
    const old = this.conditions().filter(({ session, since }) => {
      return since < time && !this.#conversations.isLive(conversationOf(session))
    })
    for (const { session } of old) this.noteCondition(session, null)
    return old.length
  }
}
