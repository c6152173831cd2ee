import { S2Error } from '#fleet/errors.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { type OutboxItem, type OutboxProblem, problemOf } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { classifyError } from './error-class.ts'
import type { OutboxPort } from './spool-interfaces.ts'

export interface OutboxSenderParts extends Omit<RetryLoopParts, 'step'> {
  readonly store: Pick<Store, 'send' | 'post' | 'report' | 'record'>
  readonly outbox: Pick<OutboxPort, 'read' | 'done' | 'refuse'>
  onSent(): void
  onRefused(name: string, problem: OutboxProblem): void
}

/** How often in a row one item may meet an internal error of the bridge, before the item itself counts as refused. */
const DOUBTS_MAX = 8
const REST_MS = 3_600_000

/** Sends the items of the outbox that are one session's: one after the other, in order. */
export class OutboxSender {
  readonly #parts: OutboxSenderParts
  readonly #loop: RetryLoop
  #queue: readonly string[] = []
  #doubts = 0

  constructor(parts: OutboxSenderParts) {
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
    return this.#queue.length
  }

  /** Takes the names of the items that wait for this session, in order, in place of those it had. */
  enqueue(names: readonly string[]): void {
    const known = new Set(this.#queue)
    this.#queue = names
    if (names.some((name) => !known.has(name))) this.#loop.nudge()
  }

  retry(): void {
    this.#loop.retry()
  }

  async #sendAll(): Promise<number> {
    while (!this.#parts.signal.aborted) {
      const name = this.#queue[0]
      if (name === undefined) break
      await this.#sendOne(name)
      this.#doubts = 0
      this.#queue = this.#queue.filter((each) => each !== name)
    }
    return REST_MS
  }

  /** Settles only when the item has left the outbox: sent, refused, or taken away by somebody. */
  async #sendOne(name: string): Promise<void> {
    const { outbox, onSent, onRefused } = this.#parts
    const item = await outbox.read(name)
    if (item === null) return
    const problem = await this.#send(item)
    if (problem === null) {
      await outbox.done(name)
      onSent()
    } else {
      await outbox.refuse(name, problem)
      onRefused(name, problem)
    }
  }

  /** Answers null when the bridge has the item, or the problem when the bridge will never take it; throws when a later try may succeed. */
  async #send(item: OutboxItem): Promise<OutboxProblem | null> {
    const { store } = this.#parts
    try {
      if (item.kind === 'send') await store.send(item.from, item.key, item.draft)
      else if (item.kind === 'post') await store.post(item.from, item.to, item.key, item.draft)
      else if (item.kind === 'report') await store.report(item.holder, item.report)
      else await store.record({ ...item.act, actor: item.holder })
      return null
    } catch (error) {
      const errorClass = classifyError(error)
      if (errorClass === 'doubtful') this.#doubts += 1
      if (errorClass === 'again' || (errorClass === 'doubtful' && this.#doubts < DOUBTS_MAX)) throw error
      return problemOf(error instanceof S2Error ? error : new S2Error('internal', String(error), { cause: error }))
    }
  }
}
