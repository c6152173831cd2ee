import { S2Error } from '#fleet/errors.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { type OutboxItem, type OutboxProblem, problemOf } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { classifyError } from './error-class.ts'
import type { OutboxPort } from './ports.ts'

export interface OutboxSenderParts extends Omit<RetryLoopParts, 'step'> {
  readonly store: Pick<Store, 'send' | 'report'>
  readonly tray: Pick<OutboxPort, 'read' | 'done' | 'refuse'>
  onCarried(name: string): void
  onRefused(name: string, problem: OutboxProblem): void
}

/** How often the bridge may stumble over one item before it is taken for poison. */
const STUMBLES_MAX = 8
const REST_MS = 3_600_000

/** Carries what one session has to say, one after the other, in order. */
export class OutboxSender {
  readonly #parts: OutboxSenderParts
  readonly #errand: RetryLoop
  #queue: readonly string[] = []
  #stumbles = 0

  constructor(parts: OutboxSenderParts) {
    this.#parts = parts
    this.#errand = new RetryLoop({ ...parts, step: () => this.#carry() })
  }

  get done(): Promise<void> {
    return this.#errand.done
  }

  get failing(): boolean {
    return this.#errand.failing
  }

  get waiting(): number {
    return this.#queue.length
  }

  /** What waits for this session just now, in order. */
  wait(names: readonly string[]): void {
    const isNews = names.some((name) => !this.#queue.includes(name))
    this.#queue = names
    if (isNews) this.#errand.nudge()
  }

  retry(): void {
    this.#errand.retry()
  }

  async #carry(): Promise<number> {
    while (!this.#parts.signal.aborted) {
      const name = this.#queue[0]
      if (name === undefined) break
      await this.#carryOne(name)
      this.#stumbles = 0
      this.#queue = this.#queue.filter((each) => each !== name)
    }
    return REST_MS
  }

  /** Leaves only when the item has left the tray: carried, refused, or gone. */
  async #carryOne(name: string): Promise<void> {
    const { tray, onCarried, onRefused } = this.#parts
    const item = await tray.read(name)
    if (item === null) return
    const problem = await this.#say(item)
    if (problem === null) {
      await tray.done(name)
      onCarried(name)
    } else {
      await tray.refuse(name, problem)
      onRefused(name, problem)
    }
  }

  /** Null when the bridge has it, the problem when it will never have it; throws when it is to be tried again. */
  async #say(item: OutboxItem): Promise<OutboxProblem | null> {
    const { store } = this.#parts
    try {
      if (item.kind === 'send') await store.send(item.from, item.key, item.draft)
      else await store.report(item.holder, item.report)
      return null
    } catch (error) {
      const fate = classifyError(error)
      if (fate === 'doubtful') this.#stumbles += 1
      if (fate === 'again' || (fate === 'doubtful' && this.#stumbles < STUMBLES_MAX)) throw error
      return problemOf(error instanceof S2Error ? error : new S2Error('internal', String(error), { cause: error }))
    }
  }
}
