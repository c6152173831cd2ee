import type { Condition } from '#fleet/agent-condition.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { WorkerSession } from './worker-session.ts'

/** How often a session is told again after a try whose answer did not come: the bridge may take that one last of all. */
const AGAIN = 2

/**
 * What the fleet knows of this place. Each session is told what is new, and when it is first seen here: what another life of
 * this worker said counts no more.
 */
export class ConditionReports {
  #condition: Condition | null = null
  readonly #told = new Map<SessionId, Condition | null>()
  /** How often each is still to be told what it was told already. */
  readonly #again = new Map<SessionId, number>()

  set(condition: Condition | null): void {
    this.#condition = condition
  }

  /** Tells the sessions that do not know of it yet. Throws the first error once all were tried. */
  async tell(sessions: readonly WorkerSession[]): Promise<void> {
    const faults: unknown[] = []
    const there = new Set(sessions.map(({ session }) => session))
    for (const session of this.#told.keys()) {
      if (there.has(session)) continue
      this.#told.delete(session)
      this.#again.delete(session)
    }
    for (const { session, store } of sessions) {
      const condition = this.#condition
      const again = this.#again.get(session) ?? 0
      const isKnown = this.#told.has(session) && this.#told.get(session) === condition
      if (isKnown && again === 0) continue
      try {
        await store.noteCondition(session, condition)
        this.#told.set(session, condition)
        if (isKnown) this.#again.set(session, again - 1)
      } catch (error) {
        this.#again.set(session, AGAIN)
        faults.push(error)
      }
    }
    if (faults.length > 0) throw faults[0]
  }
}
