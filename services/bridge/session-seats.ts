import type { SessionId } from '#fleet/session-id.ts'

/** A host has one socket; one more while a broken one is not noticed yet, and so on where the network breaks all the time. */
const SEATS_MAX = 16

/** On how many sockets each session has joined. */
export class SessionSeats {
  readonly #taken = new Map<SessionId, number>()

  /** Whether a session may join on one more socket; `leave` gives the seat back. */
  take(session: SessionId): boolean {
    const taken = this.#taken.get(session) ?? 0
    if (taken >= SEATS_MAX) return false
    this.#taken.set(session, taken + 1)
    return true
  }

  leave(session: SessionId): void {
    const taken = this.#taken.get(session) ?? 0
    if (taken <= 1) this.#taken.delete(session)
    else this.#taken.set(session, taken - 1)
  }
}
