import { FOREIGN_INCARNATION } from '#fleet/beat.ts'
import type { SessionId } from '#fleet/session-id.ts'

/** Which sessions are of agents that know the Python bridge alone: by who was heard last for each. */
export class PythonReaders {
  readonly #known = new Map<SessionId, boolean>()

  note(session: SessionId, incarnation: string): void {
    this.#known.set(session, incarnation === FOREIGN_INCARNATION)
  }

  forget(session: SessionId): void {
    this.#known.delete(session)
  }

  /** Of one that was never heard `agent` says it: where the Python bridge made its conversation, the agent has no name. */
  has(session: SessionId, agent: string | undefined): boolean {
    return this.#known.get(session) ?? agent === session
  }
}
