import { isPassing, S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'

/** A conversation is renewed if its worker was heard within this time, and within a quarter of its lifetime. */
const HEARD_WITHIN_MS = 600_000
const ROUND_MS = 60_000

/** Renews conversations while their workers live: that is, while they beat through this bridge. */
export class ConversationRenewal {
  readonly #lifetimeMs: number
  readonly #parts: { readonly store: Store; readonly clock: Clock; readonly log: Log }
  readonly #heard = new Map<SessionId, number>()

  constructor(lifetimeMs: number, parts: { readonly store: Store; readonly clock: Clock; readonly log: Log }) {
    this.#lifetimeMs = lifetimeMs
    this.#parts = parts
  }

  heard(session: SessionId): void {
    if (sideOf(session) === 'b') this.#heard.set(session, this.#parts.clock.now())
  }

  /** Renews what has less than half a lifetime left. Answers milliseconds until the next round. */
  async round(): Promise<number> {
    const { store, clock, log } = this.#parts
    const within = Math.min(HEARD_WITHIN_MS, this.#lifetimeMs / 4)
    for (const [session, at] of this.#heard) if (clock.now() - at > within) this.#heard.delete(session)
    for (const { id, expiresAt } of this.#heard.size === 0 ? [] : await store.conversations()) {
      if (expiresAt - clock.wall() >= this.#lifetimeMs / 2 || !this.#heard.has(sessionId(id, 'b'))) continue
      try {
        await store.renewConversation(id, this.#lifetimeMs)
        log.info('conversation renewed', { conversation: id })
      } catch (error) {
        if (!(error instanceof S2Error) || isPassing(error)) throw error
        log.info('conversation not renewed', { conversation: id, why: error.message }) // it has ended
      }
    }
    return Math.min(ROUND_MS, this.#lifetimeMs / 8)
  }
}
