import { FOREIGN_INCARNATION } from '#fleet/beat.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'

/** A conversation is renewed if its worker was heard within this time, and within a quarter of its lifetime. */
const HEARD_WITHIN_MS = 600_000
const ROUND_MS = 60_000

/** When a session was heard, and whether by its acts in the shared tables alone. */
interface Heard {
  readonly at: number
  readonly isForeign: boolean
}

/**
 * Renews conversations while their workers live: while their hosts beat, or, in a conversation that S2 made, while an agent of
 * the Python bridge shows that it lives. Those that the Python bridge made have that bridge's lifetime.
 */
export class ConversationRenewal {
  readonly #lifetimeMs: number
  readonly #parts: { readonly store: Store; readonly clock: Clock; readonly log: Log }
  readonly #heard = new Map<SessionId, Heard>()
  /** How far the beats were read; null before the first round. */
  #cursor: number | null = null

  constructor(lifetimeMs: number, parts: { readonly store: Store; readonly clock: Clock; readonly log: Log }) {
    this.#lifetimeMs = lifetimeMs
    this.#parts = parts
  }

  /** Renews what has less than half a lifetime left. Answers milliseconds until the next round. */
  async round(): Promise<number> {
    const { store, clock, log } = this.#parts
    await this.#hear()
    const within = Math.min(HEARD_WITHIN_MS, this.#lifetimeMs / 4)
    for (const [session, { at }] of this.#heard) if (clock.now() - at > within) this.#heard.delete(session)
    for (const conversation of this.#heard.size === 0 ? [] : await store.conversations()) {
      const { id, expiresAt } = conversation
      if (expiresAt - clock.wall() >= this.#lifetimeMs / 2 || !this.#isKeptAlive(conversation)) continue
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

  /** Takes in who was heard since the last round. What was heard before the first may be long past. */
  async #hear(): Promise<void> {
    const { store, clock } = this.#parts
    const isFirst = this.#cursor === null
    const { pulses, cursor } = await store.pulses(this.#cursor ?? 0)
    this.#cursor = cursor
    if (isFirst) return
    const at = clock.now()
    for (const { session, incarnation } of pulses)
      if (sideOf(session) === 'b') this.#heard.set(session, { at, isForeign: incarnation === FOREIGN_INCARNATION })
  }

  #isKeptAlive({ id, agents }: Conversation): boolean {
    const session = sessionId(id, 'b')
    const heard = this.#heard.get(session)
    return heard !== undefined && !(heard.isForeign && agents.b === session)
  }
}
