import { S2Error } from '#fleet/errors.ts'
import { conversationOf, type SessionId } from '#fleet/session.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import type { Store } from '#store/store.ts'

export interface ConversationRenewalParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'conversations' | 'renewConversation'>
  readonly lifetimeMs: number
  /** The end that the credential names, milliseconds since 1970. */
  readonly expiresAt: number
  /** The conversation ends at another time than was known here. */
  onEnd(expiresAt: number): Promise<void>
}

/** The longest time between two looks: a bridge may renew by itself, and a laptop may sleep. */
const LOOK_MS = 600_000

/** Keeps a conversation from ending while its agent's host lives, and keeps account of when it does. */
export class ConversationRenewal {
  readonly #parts: ConversationRenewalParts
  readonly #errand: RetryLoop
  #expiresAt: number

  constructor(parts: ConversationRenewalParts) {
    this.#parts = parts
    this.#expiresAt = parts.expiresAt
    this.#errand = new RetryLoop({ ...parts, step: () => this.#look() })
  }

  get done(): Promise<void> {
    return this.#errand.done
  }

  retry(): void {
    this.#errand.retry()
  }

  async #look(): Promise<number> {
    const { store, session, clock, lifetimeMs } = this.#parts
    const id = conversationOf(session)
    const found = (await store.conversations()).find((each) => each.id === id)
    if (found !== undefined) await this.#note(found.expiresAt)
    if (this.#expiresAt - clock.wall() < lifetimeMs / 3) await this.#renew(id)
    return Math.min(LOOK_MS, lifetimeMs / 12)
  }

  async #renew(id: string): Promise<void> {
    try {
      await this.#note((await this.#parts.store.renewConversation(id, this.#parts.lifetimeMs)).expiresAt)
    } catch (error) {
      // A bridge that leaves renewing to nobody else does it itself, for all whose beats it hears.
      if (!(error instanceof S2Error) || error.code !== 'forbidden') throw error
    }
  }

  async #note(expiresAt: number): Promise<void> {
    if (expiresAt === this.#expiresAt) return
    this.#expiresAt = expiresAt
    await this.#parts.onEnd(expiresAt)
  }
}
