import { conversationOf, type SessionId } from '#fleet/session-id.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import type { Store } from '#store/store.ts'

export interface RenewedExpiryNoteParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'conversations'>
  /** The end that the credential names, milliseconds since 1970. */
  readonly expiresAt: number
  /** Keeps the new end, milliseconds since 1970, for the readers of the credential. */
  noteRenewal(session: SessionId, expiresAt: number): Promise<void>
}

/** The longest and the shortest time between two looks. */
const LOOK_MAX_MS = 600_000
const LOOK_MIN_MS = 5_000
/** The time that is left of the conversation is divided into so many looks. */
const LOOKS = 12

/** Follows when a conversation ends: the bridge renews it while it hears beats, and the credential's file names the first end only. */
export class RenewedExpiryNote {
  readonly #parts: RenewedExpiryNoteParts
  readonly #loop: RetryLoop
  #expiresAt: number

  constructor(parts: RenewedExpiryNoteParts) {
    this.#parts = parts
    this.#expiresAt = parts.expiresAt
    this.#loop = new RetryLoop({ ...parts, step: () => this.#look() })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  retry(): void {
    this.#loop.retry()
  }

  async #look(): Promise<number> {
    const { store, session, clock, noteRenewal } = this.#parts
    const id = conversationOf(session)
    const found = (await store.conversations()).find((each) => each.id === id)
    if (found !== undefined && found.expiresAt !== this.#expiresAt) {
      await noteRenewal(session, found.expiresAt)
      this.#expiresAt = found.expiresAt
    }
    const leftMs = this.#expiresAt - clock.wall()
    // An end in the past means that this clock is ahead: the bridge would not answer for a conversation that has ended.
    return leftMs <= 0 ? LOOK_MAX_MS : Math.min(LOOK_MAX_MS, Math.max(LOOK_MIN_MS, leftMs / LOOKS))
  }
}
