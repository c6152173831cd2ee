import type { Chance, Clock } from '#runtime/clock.ts'

export interface HintLimiterParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly signal: AbortSignal
  /** The remote shall be asked now. */
  hurry(): void
}

/** A thousand hosts that hear one hint ask within this time, and not in one moment. */
const SPREAD_MS = 500
/** Hints that are followed in any minute: the polls do the rest, so that a storm of hints is none of questions. */
const A_MINUTE = 12
const MINUTE_MS = 60_000

/** When a hint is followed: soon, those that come close together as one, and not more often than a remote can bear. */
export class HintLimiter {
  readonly #parts: HintLimiterParts
  /** When hints were followed in the last minute, by the clock that never jumps. */
  #followed: number[] = []
  #isDue = false

  constructor(parts: HintLimiterParts) {
    this.#parts = parts
  }

  /** The last hint is never lost: at the latest it is followed when there is room again. */
  hint(): void {
    if (this.#isDue || this.#parts.signal.aborted) return
    this.#isDue = true
    void this.#follow()
  }

  async #follow(): Promise<void> {
    const { clock, chance, signal, hurry } = this.#parts
    await clock.sleep(Math.max(chance() * SPREAD_MS, this.#roomAt() - clock.now()), signal).catch(() => undefined)
    this.#isDue = false
    if (signal.aborted) return
    this.#followed.push(clock.now())
    hurry()
  }

  /** When there is room for another in the minute. */
  #roomAt(): number {
    const since = this.#parts.clock.now() - MINUTE_MS
    this.#followed = this.#followed.filter((at) => at > since)
    const oldest = this.#followed.at(-A_MINUTE)
    return oldest === undefined ? Number.NEGATIVE_INFINITY : oldest + MINUTE_MS
  }
}
