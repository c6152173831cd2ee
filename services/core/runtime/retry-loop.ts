import { type BackoffLimits, Pauses } from './backoff.ts'
import type { Chance, Clock } from './clock.ts'
import { Loop } from './loop.ts'

export interface RetryLoopParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Milliseconds between tries: the first pause, and the longest one. Left out: 250 ms to 30 s. */
  readonly limits?: BackoffLimits
  /** How long steps are of no use just now, milliseconds; left out or not above 0: they are. */
  restMs?(): number
  /** One step; answers milliseconds until the next one is wanted. */
  step(): Promise<number>
  onTrouble(error: unknown): void
  /** After troubles: a step has succeeded again, or goes on well for a while. */
  onWell(): void
}

const LIMITS = { firstMs: 250, mostMs: 30_000, leastMs: 50 }
/** Whatever the other side asks for, it is asked again after this. */
const ASKED_MOST_MS = 300_000
/** A step that goes on for so long has got over its trouble. */
const STEADY_MS = 5_000

/** Repeats a step for ever. While it fails it waits longer and longer, with full jitter, however it is nudged. */
export class RetryLoop {
  readonly #parts: RetryLoopParts
  readonly #loop: Loop
  readonly #pauses: Pauses
  #notBefore = Number.NEGATIVE_INFINITY

  constructor(parts: RetryLoopParts) {
    this.#parts = parts
    this.#pauses = new Pauses(parts.limits ?? LIMITS, parts.chance)
    this.#loop = new Loop({
      clock: parts.clock,
      signal: parts.signal,
      step: () => this.#step(),
      onError: (error) => this.#onError(error),
    })
  }

  /** Settles when the signal has aborted and the step under way has ended; never rejects. */
  get done(): Promise<void> {
    return this.#loop.done
  }

  get failing(): boolean {
    return this.#pauses.failures > 0
  }

  /** There may be something to do: it is done now, or when the wait after a failure is over. */
  nudge(): void {
    this.#loop.nudge()
  }

  /** What it failed for may be over: tries at once. */
  retry(): void {
    this.#notBefore = Number.NEGATIVE_INFINITY
    this.#loop.nudge()
  }

  async #step(): Promise<number> {
    const { clock, step, restMs } = this.#parts
    const waitMs = Math.max(this.#notBefore - clock.now(), restMs?.() ?? 0)
    if (waitMs > 0) return waitMs
    const over = new AbortController()
    if (this.failing) void this.#wellAfterAWhile(over.signal)
    try {
      const nextMs = await step()
      this.#well()
      return nextMs
    } finally {
      over.abort()
    }
  }

  async #wellAfterAWhile(over: AbortSignal): Promise<void> {
    await this.#parts.clock.sleep(STEADY_MS, over).then(
      () => this.#well(),
      () => undefined,
    )
  }

  #well(): void {
    if (!this.failing) return
    this.#pauses.succeeded()
    this.#parts.onWell()
  }

  #onError(error: unknown): number {
    const { clock, onTrouble } = this.#parts
    const waitMs = Math.max(askedMs(error), this.#pauses.failed())
    this.#notBefore = clock.now() + waitMs
    onTrouble(error)
    return waitMs
  }
}

/** How long the other side asks to be left alone (Retry-After, RFC 9110 10.2.3), milliseconds. */
function askedMs(error: unknown): number {
  const { retryAfterS = 0 } = error as { retryAfterS?: number }
  return Math.min(retryAfterS * 1000, ASKED_MOST_MS)
}
