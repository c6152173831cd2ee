import { type AgentCondition, type Condition, nextCondition } from '#fleet/agent-condition.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'

/** What agents say of their places, in memory. */
export class MemoryConditions {
  readonly #clock: Clock
  readonly #all = new Map<SessionId, AgentCondition>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  noteCondition(session: SessionId, condition: Condition | null): void {
    parseSession(session)
    if (condition === null) this.#all.delete(session)
    else {
      const next = nextCondition(this.#all.get(session) ?? null, session, condition, this.#clock.wall())
      this.#all.set(session, Object.freeze(next))
    }
  }

  conditions(): AgentCondition[] {
    return [...this.#all.values()]
  }
}
