import { type AgentCondition, type Condition, nextCondition } from '#fleet/agent-condition.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { SqliteConnection } from '../file/connection.ts'

const SELECT = 'SELECT session, state, why, until, since FROM s2_conditions'

/** What agents say of their places, one row a session that is not well. */
export class ConditionTable {
  readonly #connection: SqliteConnection
  readonly #clock: Clock

  constructor(connection: SqliteConnection, clock: Clock) {
    this.#connection = connection
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
}
