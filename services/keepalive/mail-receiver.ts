import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { LANE } from '#spool/inbox.ts'
import type { Store } from '#store/store.ts'

export interface MailReceiverParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'mail'>
  /** Keeps messages durably. While it throws, the same ones are brought again. */
  keep(messages: readonly StoredMessage[]): Promise<unknown>
  /** What can never be kept. */
  onOddity(what: string): void
}

/** Messages that are taken over before the inbox has them. */
const IN_HAND_MAX = 256

/** Brings one session's messages to the inbox as they come, in order, in groups as large as have come meanwhile. */
export class MailReceiver {
  readonly #parts: MailReceiverParts
  readonly #errand: RetryLoop
  /** All messages up to this one are in the inbox, or were received before. */
  #after = 0

  constructor(parts: MailReceiverParts) {
    this.#parts = parts
    this.#errand = new RetryLoop({ ...parts, step: () => this.#carry() })
  }

  get done(): Promise<void> {
    return this.#errand.done
  }

  /** What it failed for may be over. */
  retry(): void {
    if (this.#errand.failing) this.#errand.retry()
  }

  /** One stream, for as long as it holds. */
  async #carry(): Promise<number> {
    const { signal, session, store } = this.#parts
    const stream = new AbortController()
    const over = AbortSignal.any([signal, stream.signal])
    const hand = new Hand(over)
    // Both end when either does: the one who fills by the error he leaves, the one who empties by breaking the stream off.
    const filled = fill(hand, store.mail(session, this.#after, over))
    try {
      await this.#empty(hand)
    } finally {
      stream.abort()
      await filled
    }
    return 0
  }

  async #empty(hand: Hand): Promise<void> {
    for (;;) {
      const messages = await hand.takeAll()
      if (messages === null) return
      const own = messages.filter((message) => this.#isOurs(message))
      if (own.length > 0) await this.#parts.keep(own)
      this.#after = messages.reduce((last, { id }) => Math.max(last, id), this.#after)
    }
  }

  #isOurs({ id, to }: StoredMessage): boolean {
    const ours = to === this.#parts.session && id > 0 && id < LANE
    if (!ours)
      this.#parts.onOddity(`the bridge brought a message ${id} to ${to}, which is none for ${this.#parts.session}`)
    return ours
  }
}

async function fill(hand: Hand, mail: AsyncIterable<StoredMessage>): Promise<void> {
  try {
    for await (const message of mail) if (!(await hand.add(message))) return
    hand.end(new S2Error('unavailable', 'the bridge has ended the stream of messages'))
  } catch (error) {
    hand.end(error)
  }
}

/** What has come and is not kept yet: bounded, so that a slow disk slows the bridge and not our memory. */
class Hand {
  readonly #over: AbortSignal
  #messages: StoredMessage[] = []
  #ending: { readonly error: unknown } | null = null
  #changed = Promise.withResolvers<void>()

  constructor(over: AbortSignal) {
    this.#over = over
    over.addEventListener('abort', () => this.#tell(), { once: true })
  }

  /** Waits until there is room; false when nothing more is wanted. */
  async add(message: StoredMessage): Promise<boolean> {
    while (!this.#over.aborted && this.#messages.length >= IN_HAND_MAX) await this.#changed.promise
    if (this.#over.aborted) return false
    this.#messages.push(message)
    this.#tell()
    return true
  }

  end(error: unknown): void {
    this.#ending = { error }
    this.#tell()
  }

  /** Waits until there is something; null when it is over. Throws what ended the stream, once all before it was taken. */
  async takeAll(): Promise<readonly StoredMessage[] | null> {
    for (;;) {
      if (this.#over.aborted) return null
      if (this.#messages.length > 0) break
      if (this.#ending !== null) throw this.#ending.error
      await this.#changed.promise
    }
    const messages = this.#messages
    this.#messages = []
    this.#tell()
    return messages
  }

  #tell(): void {
    const { resolve } = this.#changed
    this.#changed = Promise.withResolvers()
    resolve()
  }
}
