import type { Clock } from '#runtime/clock.ts'

export interface HintLimiterParts {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Asks the remote now. */
  hurry(): void
}

/** Hints that come within so long of one that was followed are followed together: issuing and pushing give one each. */
const APART_MS = 500
/** Hints that are followed in any minute. The polls do the rest, so that many hints do not become as many questions. */
const HINTS_A_MINUTE = 12
const MINUTE_MS = 60_000

/**
 * Decides when a hint is followed: at once, those that come close after it together, and no oftener than a remote can bear.
 * That not all hosts ask in one moment is the bridge's part: it knows how many they are.
 */
export class HintLimiter {
  readonly #parts: HintLimiterParts
  /** When hints were followed in the last minute, by the clock that never jumps. */
  #followed: number[] = []
  #isDue = false

  constructor(parts: HintLimiterParts) {
    this.#parts = parts
  }

  /** Takes a hint. The last one is never lost: it is followed as soon as the minute has room again. */
  hint(): void {
    if (this.#isDue || this.#parts.signal.aborted) return
    this.#isDue = true
    void this.#follow()
  }

  async #follow(): Promise<void> {
    const { clock, signal, hurry } = this.#parts
    const waitMs = this.#roomAt() - clock.now()
    if (waitMs > 0) await clock.sleep(waitMs, signal).catch(() => undefined)
    this.#isDue = false
    if (signal.aborted) return
    this.#followed.push(clock.now())
    hurry()
  }

  /** When another hint may be followed, by the clock that never jumps. */
  #roomAt(): number {
    const since = this.#parts.clock.now() - MINUTE_MS
    this.#followed = this.#followed.filter((at) => at > since)
    const last = this.#followed.at(-1) ?? Number.NEGATIVE_INFINITY
    const oldest = this.#followed.at(-HINTS_A_MINUTE) ?? Number.NEGATIVE_INFINITY
    return Math.max(last + APART_MS, oldest + MINUTE_MS)
  }
}
