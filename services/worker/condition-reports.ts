import type { Condition } from '#fleet/agent-condition.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { WorkerSession } from './worker-session.ts'

/**
 * What the fleet knows of this place. Each session is told what is new, and when it is first seen here: what another life of
 * this worker said counts no more.
 */
export class ConditionReports {
  #condition: Condition | null = null
  readonly #told = new Map<SessionId, Condition | null>()

  set(condition: Condition | null): void {
    this.#condition = condition
  }

  /** Tells the sessions that do not know of it yet. Throws the first error once all were tried. */
  async tell(sessions: readonly WorkerSession[]): Promise<void> {
    const faults: unknown[] = []
    const there = new Set(sessions.map(({ session }) => session))
    for (const session of this.#told.keys()) if (!there.has(session)) this.#told.delete(session)
    for (const { session, store } of sessions) {
      const condition = this.#condition
      if (this.#told.has(session) && this.#told.get(session) === condition) continue
      try {
        await store.noteCondition(session, condition)
        this.#told.set(session, condition)
      } catch (error) {
        faults.push(error)
      }
    }
    if (faults.length > 0) throw faults[0]
  }
}
