import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { LANE } from '#spool/inbox.ts'
import type { Store } from '#store/store.ts'

export interface MailReceiverParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'mail'>
  /** Puts messages into the inbox durably. While it throws, the same messages are received again. */
  keep(messages: readonly StoredMessage[]): Promise<unknown>
  /** The bridge brought a message that is none for this session, and is never kept. */
  onForeign(id: number, to: SessionId): void
}

/** Puts one session's messages into the inbox in order; those that come while a batch is written are written together. */
export class MailReceiver {
  readonly #parts: MailReceiverParts
  readonly #loop: RetryLoop
  /** All messages up to this one are in the inbox, or were received before. */
  #after = 0

  constructor(parts: MailReceiverParts) {
    this.#parts = parts
    this.#loop = new RetryLoop({ ...parts, step: () => this.#receive() })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  /** What it failed for may be over; a stream that holds is left alone. */
  retry(): void {
    if (this.#loop.failing) this.#loop.retry()
  }

  /** Receives from one stream, until the stream ends. Messages that come while a batch is written wait in the store. */
  async #receive(): Promise<number> {
    const { signal, session, store, keep } = this.#parts
    for await (const batch of store.mail(session, this.#after, signal)) {
      const own = batch.filter((message) => this.#isOurs(message))
      if (own.length > 0) await keep(own)
      this.#after = batch.reduce((last, { id }) => Math.max(last, id), this.#after)
    }
    if (!signal.aborted) throw new S2Error('unavailable', 'the bridge has ended the stream of messages')
    return 0
  }

  #isOurs({ id, to }: StoredMessage): boolean {
    const isOurs = to === this.#parts.session && id > 0 && id < LANE
    if (!isOurs) this.#parts.onForeign(id, to)
    return isOurs
  }
}
