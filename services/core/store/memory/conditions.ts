import { type AgentCondition, type Condition, nextCondition } from '#fleet/agent-condition.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { MemoryConversations } from './conversations.ts'

/** What agents say of their places, in memory. */
export class MemoryConditions {
  readonly #conversations: Pick<MemoryConversations, 'isLive'>
  readonly #clock: Clock
  readonly #all = new Map<SessionId, AgentCondition>()

  constructor(conversations: Pick<MemoryConversations, 'isLive'>, clock: Clock) {
    this.#conversations = conversations
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

  /** Forgets what was said before `time` in conversations that have ended; answers how many. */
  prune(time: number): number {
    const old = this.conditions().filter(({ session, since }) => since < time && !this.#conversations.isLive(session))
    for (const { session } of old) this.#all.delete(session)
    return old.length
  }
}
