import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
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

/** Messages that are held in memory before the inbox has them. */
const QUEUED_MAX = 256

/** Puts one session's messages into the inbox in order: together those that came while the last ones were written. */
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

  /** Receives from one stream, until the stream ends. */
  async #receive(): Promise<number> {
    const { signal, session, store } = this.#parts
    const stream = new AbortController()
    const over = AbortSignal.any([signal, stream.signal])
    const queue = new MailQueue(over)
    // Filling and emptying end together: a broken stream leaves its error in the queue, and a full disk ends the stream.
    const filled = fill(queue, store.mail(session, this.#after, over))
    try {
      await this.#empty(queue)
    } finally {
      stream.abort()
      await filled
    }
    return 0
  }

  async #empty(queue: MailQueue): Promise<void> {
    for (;;) {
      const messages = await queue.takeAll()
      if (messages === null) return
      const own = messages.filter((message) => this.#isOurs(message))
      if (own.length > 0) await this.#parts.keep(own)
      this.#after = messages.reduce((last, { id }) => Math.max(last, id), this.#after)
    }
  }

  #isOurs({ id, to }: StoredMessage): boolean {
    const isOurs = to === this.#parts.session && id > 0 && id < LANE
    if (!isOurs) this.#parts.onForeign(id, to)
    return isOurs
  }
}

async function fill(queue: MailQueue, mail: AsyncIterable<StoredMessage>): Promise<void> {
  try {
    for await (const message of mail) if (!(await queue.add(message))) return
    queue.end(new S2Error('unavailable', 'the bridge has ended the stream of messages'))
  } catch (error) {
    queue.end(error)
  }
}

/** The messages that were received and are not kept yet: bounded, so that a slow disk slows the stream and does not fill the memory. */
class MailQueue {
  readonly #ended: AbortSignal
  #messages: StoredMessage[] = []
  #ending: { readonly error: unknown } | null = null
  #change = Promise.withResolvers<void>()

  constructor(ended: AbortSignal) {
    this.#ended = ended
    ended.addEventListener('abort', () => this.#signal(), { once: true })
  }

  /** Waits until there is room; false when no more messages are wanted. */
  async add(message: StoredMessage): Promise<boolean> {
    while (!this.#ended.aborted && this.#messages.length >= QUEUED_MAX) await this.#change.promise
    if (this.#ended.aborted) return false
    this.#messages.push(message)
    this.#signal()
    return true
  }

  end(error: unknown): void {
    this.#ending = { error }
    this.#signal()
  }

  /** Waits for messages; null when no more are wanted. Throws what ended the stream, once every message before was taken. */
  async takeAll(): Promise<readonly StoredMessage[] | null> {
    for (;;) {
      if (this.#ended.aborted) return null
      if (this.#messages.length > 0) break
      if (this.#ending !== null) throw this.#ending.error
      await this.#change.promise
    }
    const messages = this.#messages
    this.#messages = []
    this.#signal()
    return messages
  }

  #signal(): void {
    const { resolve } = this.#change
    this.#change = Promise.withResolvers()
    resolve()
  }
}
