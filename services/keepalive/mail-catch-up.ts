import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import type { Store } from '#store/store.ts'

export interface MailCatchUpParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'unacked'>
  /** Whether a message (by its id on the bridge) lies in the inbox. */
  isHeld(id: number): boolean
  keep(messages: readonly StoredMessage[]): Promise<void>
}

const PERIOD_MS = 60_000
/** How often while a bridge has just come back, or something seems to be missing: then it is likeliest that it slipped through. */
const YOUNG_MS = 5_000
const YOUTH_MS = 15_000
/** How long the stream may take for what is there. */
const SLOW_MS = 4_000
const PAGE = 50

/**
 * Asks now and then for what the stream of mail may have left out: push is a hint, what the store counts as unacked is the truth.
 * One page at a time, so that a long backlog is gone through in turns.
 */
export class MailCatchUp {
  readonly #parts: MailCatchUpParts
  readonly #errand: RetryLoop
  #youngUntil: number
  #after = 0
  #isFirst = true
  /** Ids that are missing, and since when that is known. What the stream is only slow to bring is not left out. */
  #missed: ReadonlyMap<number, number> = new Map()

  constructor(parts: MailCatchUpParts) {
    this.#parts = parts
    this.#youngUntil = parts.clock.now() + YOUTH_MS
    this.#errand = new RetryLoop({ ...parts, step: () => this.#ask() })
  }

  get done(): Promise<void> {
    return this.#errand.done
  }

  /** The bridge is back. */
  retry(): void {
    this.#forgive()
    this.#youngUntil = this.#parts.clock.now() + YOUTH_MS
    this.#errand.retry()
  }

  async #ask(): Promise<number> {
    // The stream has only begun: it brings everything by itself.
    const isUnsure = !this.#isFirst && (await this.#askForPage())
    this.#isFirst = false
    const { clock, chance } = this.#parts
    const isYoung = isUnsure || clock.now() < this.#youngUntil
    return (isYoung ? YOUNG_MS : PERIOD_MS) * (0.9 + 0.2 * chance())
  }

  /** Keeps what has been missing for a while. Answers whether the same page is to be asked for again. */
  async #askForPage(): Promise<boolean> {
    const { store, session, clock, isHeld, keep } = this.#parts
    const page = await store.unacked(session, this.#after, PAGE).catch((error) => {
      this.#forgive()
      throw error
    })
    const missing = page.filter(({ id, to }) => to === session && !isHeld(id))
    const now = clock.now()
    this.#missed = new Map(missing.map(({ id }) => [id, this.#missed.get(id) ?? now]))
    const left = missing.filter(({ id }) => now - (this.#missed.get(id) ?? now) >= SLOW_MS)
    if (left.length > 0) await keep(left)
    if (left.length < missing.length) return true
    this.#after = page.length < PAGE ? 0 : (page.at(-1)?.id ?? 0)
    return false
  }

  /** The bridge is or was away: its stream begins anew, and what was missing before may be on its way. */
  #forgive(): void {
    this.#missed = new Map()
  }
}
