import type { Chance, Clock } from '#runtime/clock.ts'

export interface HintLimiterParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Asks the remote now. */
  hurry(): void
}

/** Hosts that hear the same hint ask spread over this time, and not all in one moment. */
const SPREAD_MS = 500
/** Hints that are followed in any minute. The polls do the rest, so that many hints do not become as many questions. */
const HINTS_A_MINUTE = 12
const MINUTE_MS = 60_000

/** Decides when a hint is followed: soon, together with those that come close after it, and no oftener than a remote can bear. */
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
    const { clock, chance, signal, hurry } = this.#parts
    await clock.sleep(Math.max(chance() * SPREAD_MS, this.#roomAt() - clock.now()), signal).catch(() => undefined)
    this.#isDue = false
    if (signal.aborted) return
    this.#followed.push(clock.now())
    hurry()
  }

  /** When the minute has room for another hint, by the clock that never jumps. */
  #roomAt(): number {
    const since = this.#parts.clock.now() - MINUTE_MS
    this.#followed = this.#followed.filter((at) => at > since)
    const oldest = this.#followed.at(-HINTS_A_MINUTE)
    return oldest === undefined ? Number.NEGATIVE_INFINITY : oldest + MINUTE_MS
  }
}
