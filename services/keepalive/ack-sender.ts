import { advances, type Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { bridgeId } from '#spool/inbox.ts'
import type { Store } from '#store/store.ts'
import { unlessOver } from './error-class.ts'

export interface AckSenderParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'mark'>
  /** The bridge has kept these marks; ids as in the inbox. */
  onConfirmed(ids: readonly number[], mark: Mark): Promise<void>
}

/** Marks sent in one request. */
const MARKS_MAX = 500
const MARKS: readonly Mark[] = ['delivered', 'leased', 'acked']
const REST_MS = 3_600_000

/** Sends the bridge word of how far one session's messages have come. Only the furthest mark of each message is sent. */
export class AckSender {
  readonly #parts: AckSenderParts
  readonly #loop: RetryLoop
  /** The mark to send for each message, by its id in the inbox. */
  readonly #queued = new Map<number, Mark>()
  /** Messages, by their ids on the bridge, that were acked here before, and that the bridge brought again. */
  readonly #repeated = new Set<number>()

  constructor(parts: AckSenderParts) {
    this.#parts = parts
    this.#loop = new RetryLoop({ ...parts, step: () => this.#sendAll() })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  get failing(): boolean {
    return this.#loop.failing
  }

  get waiting(): number {
    return this.#queued.size + this.#repeated.size
  }

  queue(id: number, mark: Mark): void {
    const queued = this.#queued.get(id)
    if (queued !== undefined && !advances(queued, mark)) return
    this.#queued.set(id, mark)
    this.#loop.nudge()
  }

  /** Acks once more a message that has left the inbox, by its id on the bridge. */
  repeatAck(id: number): void {
    this.#repeated.add(id)
    this.#loop.nudge()
  }

  retry(): void {
    this.#loop.retry()
  }

  async #sendAll(): Promise<number> {
    while (this.waiting > 0 && !this.#parts.signal.aborted) {
      await this.#sendRepeated()
      for (const mark of MARKS) await this.#sendMark(mark)
    }
    return REST_MS
  }

  async #sendMark(mark: Mark): Promise<void> {
    const ids = [...this.#queued.keys()].filter((id) => this.#queued.get(id) === mark).slice(0, MARKS_MAX)
    if (ids.length === 0) return
    await this.#send(ids.map(bridgeId), mark)
    for (const id of ids) if (this.#queued.get(id) === mark) this.#queued.delete(id)
    await this.#parts.onConfirmed(ids, mark)
  }

  async #sendRepeated(): Promise<void> {
    const ids = [...this.#repeated].slice(0, MARKS_MAX)
    if (ids.length === 0) return
    await this.#send(ids, 'acked')
    for (const id of ids) this.#repeated.delete(id)
  }

  /** Where the conversation is over, no store keeps its marks any more: they count as sent. */
  async #send(ids: readonly number[], mark: Mark): Promise<void> {
    await unlessOver(this.#parts.store.mark(this.#parts.session, ids, mark))
  }
}
