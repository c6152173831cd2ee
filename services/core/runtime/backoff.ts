import type { Chance, Clock } from './clock.ts'

export interface BackoffLimits {
  readonly firstMs: number
  readonly mostMs: number
  /** Added to every pause, so that none is zero. Default: 0. */
  readonly leastMs?: number
}

/**
 * The wait before retry `attempt` (0 is the first), milliseconds: full jitter under a doubling ceiling, so that a thousand
 * clients of a restarted server do not come back together (AWS Architecture Blog, 2015).
 */
export function backoff(attempt: number, { firstMs, mostMs, leastMs = 0 }: BackoffLimits, chance: Chance): number {
  return leastMs + chance() * Math.min(mostMs, firstMs * 2 ** Math.min(attempt, 30))
}

/** The pauses between tries: they grow with each failure, and start small again after a success. */
export class Pauses {
  readonly #limits: BackoffLimits
  readonly #chance: Chance
  #failures = 0

  constructor(limits: BackoffLimits, chance: Chance) {
    this.#limits = limits
    this.#chance = chance
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures
  }

  /** Notes a failure; answers how long to wait before the next try, milliseconds. */
  failed(): number {
    this.#failures += 1
    return backoff(this.#failures - 1, this.#limits, this.#chance)
  }

  succeeded(): void {
    this.#failures = 0
  }

  /** Notes a failure and waits; an abort of the signal ends the wait. Never rejects. */
  async wait(clock: Clock, signal?: AbortSignal): Promise<void> {
    await clock.sleep(this.failed(), signal).catch(() => undefined)
  }
}
