import { advances, type Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { bridgeId } from '#spool/inbox.ts'
import type { Store } from '#store/store.ts'
import { isOver } from './error-class.ts'

export interface AckSenderParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'mark'>
  /** The bridge has kept these marks; ids as in the inbox. */
  onTold(ids: readonly number[], mark: Mark): Promise<void>
}

/** Marks told in one request. */
const MARKS_MAX = 500
const MARKS: readonly Mark[] = ['delivered', 'leased', 'acked']
const REST_MS = 3_600_000

/** Tells the bridge how far one session's messages have come. Only the furthest mark of each is told. */
export class AckSender {
  readonly #parts: AckSenderParts
  readonly #errand: RetryLoop
  readonly #owed = new Map<number, Mark>()
  /** Ids on the bridge of messages that were acked long ago, which it does not know any more. */
  readonly #reaffirmed = new Set<number>()

  constructor(parts: AckSenderParts) {
    this.#parts = parts
    this.#errand = new RetryLoop({ ...parts, step: () => this.#tell() })
  }

  get done(): Promise<void> {
    return this.#errand.done
  }

  get failing(): boolean {
    return this.#errand.failing
  }

  get waiting(): number {
    return this.#owed.size + this.#reaffirmed.size
  }

  owe(id: number, mark: Mark): void {
    const owed = this.#owed.get(id)
    if (owed !== undefined && !advances(owed, mark)) return
    this.#owed.set(id, mark)
    this.#errand.nudge()
  }

  reaffirm(id: number): void {
    this.#reaffirmed.add(id)
    this.#errand.nudge()
  }

  retry(): void {
    this.#errand.retry()
  }

  async #tell(): Promise<number> {
    while (this.waiting > 0 && !this.#parts.signal.aborted) {
      await this.#tellReaffirmed()
      for (const mark of MARKS) await this.#tellMark(mark)
    }
    return REST_MS
  }

  async #tellMark(mark: Mark): Promise<void> {
    const { session, store, onTold } = this.#parts
    const ids = [...this.#owed.keys()].filter((id) => this.#owed.get(id) === mark).slice(0, MARKS_MAX)
    if (ids.length === 0) return
    await this.#asked(() => store.mark(session, ids.map(bridgeId), mark))
    for (const id of ids) if (this.#owed.get(id) === mark) this.#owed.delete(id)
    await onTold(ids, mark)
  }

  async #tellReaffirmed(): Promise<void> {
    const ids = [...this.#reaffirmed].slice(0, MARKS_MAX)
    if (ids.length === 0) return
    await this.#asked(() => this.#parts.store.mark(this.#parts.session, ids, 'acked'))
    for (const id of ids) this.#reaffirmed.delete(id)
  }

  /** Where the conversation is over, nobody counts its receipts any more. */
  async #asked(tell: () => Promise<void>): Promise<void> {
    try {
      await tell()
    } catch (error) {
      if (!isOver(error)) throw error
    }
  }
}
