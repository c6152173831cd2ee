import { isLastPage, type StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import type { Store } from '#store/store.ts'

export interface MailCatchUpParts extends Omit<RetryLoopParts, 'step'> {
  readonly session: SessionId
  readonly store: Pick<Store, 'unacked'>
  /** The messages of this session in the inbox, by their ids on the bridge. */
  heldIds(): ReadonlySet<number>
  /** Puts messages into the inbox durably. */
  keep(messages: readonly StoredMessage[]): Promise<void>
}

/** How often the store is asked when nothing points to a loss. */
const CALM_MS = 60_000
/** How often it is asked when the bridge came back lately, or a message seems to be missing. */
const ALERT_MS = 5_000
/** How long after the bridge's return a loss is likely. */
const ALERT_FOR_MS = 15_000
/** How long the stream may take to bring a message that the store has. */
const STREAM_DELAY_MS = 4_000
const PAGE = 50

/**
 * Asks the store at intervals for messages that the stream of mail may have left out: the stream is a hint, and the store's
 * unacked messages are the truth. It asks for one page at a time, so that a long backlog takes several turns.
 */
export class MailCatchUp {
  readonly #parts: MailCatchUpParts
  readonly #loop: RetryLoop
  #alertUntil: number
  #after = 0
  #isFirst = true
  /** Since when each missing message, by its id, is known to be missing. A message that the stream is only slow to bring is not lost. */
  #missingSince: ReadonlyMap<number, number> = new Map()

  constructor(parts: MailCatchUpParts) {
    this.#parts = parts
    this.#alertUntil = parts.clock.now() + ALERT_FOR_MS
    this.#loop = new RetryLoop({ ...parts, step: () => this.#ask() })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  /** The bridge is back. */
  retry(): void {
    this.#startOver()
    this.#alertUntil = this.#parts.clock.now() + ALERT_FOR_MS
    this.#loop.retry()
  }

  async #ask(): Promise<number> {
    // The stream has only begun, and brings every unacked message by itself.
    const isUnclear = !this.#isFirst && (await this.#askForPage())
    this.#isFirst = false
    const { clock, chance } = this.#parts
    const isAlert = isUnclear || clock.now() < this.#alertUntil
    return (isAlert ? ALERT_MS : CALM_MS) * (0.9 + 0.2 * chance())
  }

  /** Keeps the messages that have been missing for a while. Answers true when the same page must be asked for again. */
  async #askForPage(): Promise<boolean> {
    const { store, session, clock, heldIds, keep } = this.#parts
    const page = await store.unacked(session, this.#after, PAGE).catch((error) => {
      this.#startOver()
      throw error
    })
    const held = heldIds()
    const missing = page.filter(({ id, to }) => to === session && !held.has(id))
    const now = clock.now()
    this.#missingSince = new Map(missing.map(({ id }) => [id, this.#missingSince.get(id) ?? now]))
    const lost = missing.filter(({ id }) => now - (this.#missingSince.get(id) ?? now) >= STREAM_DELAY_MS)
    if (lost.length > 0) await keep(lost)
    if (lost.length < missing.length) return true
    this.#after = isLastPage(page, PAGE) ? 0 : (page.at(-1)?.id ?? 0)
    return false
  }

  /** The bridge is or was away: its stream starts again, and may be about to bring what was missing. */
  #startOver(): void {
    this.#missingSince = new Map()
  }
}
