import { type BackoffLimits, Pauses } from './backoff.ts'
import type { Chance, Clock } from './clock.ts'
import { Loop } from './loop.ts'

export interface RetryLoopParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Milliseconds between tries: the first pause and the longest. Default: 250 ms to 30 s. */
  readonly limits?: BackoffLimits
  /** A step that runs for so many milliseconds has recovered, as a stream has. Absent: only the end of a step says so. */
  readonly steadyMs?: number
  /** Milliseconds during which a step would be useless; absent or not above 0: none. */
  restMs?(): number
  /** One step; answers milliseconds until the next one. */
  step(): Promise<number>
  onTrouble(error: unknown): void
  /** After a trouble: a step has succeeded again, or has run for `steadyMs`. */
  onWell(): void
}

const LIMITS = { firstMs: 250, mostMs: 30_000, leastMs: 50 }
/** The longest pause that the other side can ask for. */
const ASKED_MOST_MS = 300_000

/** Repeats a step until the signal aborts. Pauses after failures grow, with full jitter, and a nudge does not shorten them. */
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

  /** Starts a step now, or after the pause of a failure. */
  nudge(): void {
    this.#loop.nudge()
  }

  /** Tries at once, because the cause of the failure may be gone. */
  retry(): void {
    this.#notBefore = Number.NEGATIVE_INFINITY
    this.#loop.nudge()
  }

  /** Ends a trouble before the step under way has ended: the part of it that can fail has succeeded. */
  succeeded(): void {
    if (!this.failing) return
    this.#pauses.succeeded()
    this.#parts.onWell()
  }

  async #step(): Promise<number> {
    const { clock, step, restMs, steadyMs } = this.#parts
    const waitMs = Math.max(this.#notBefore - clock.now(), restMs?.() ?? 0)
    if (waitMs > 0) return waitMs
    const over = new AbortController()
    if (this.failing && steadyMs !== undefined) void this.#succeedAfter(steadyMs, over.signal)
    try {
      const nextMs = await step()
      this.succeeded()
      return nextMs
    } finally {
      over.abort()
    }
  }

  async #succeedAfter(ms: number, over: AbortSignal): Promise<void> {
    await this.#parts.clock.sleep(ms, over).then(
      () => this.succeeded(),
      () => undefined,
    )
  }

  #onError(error: unknown): number {
    const { clock, onTrouble } = this.#parts
    const waitMs = Math.max(askedMs(error), this.#pauses.failed())
    this.#notBefore = clock.now() + waitMs
    onTrouble(error)
    return waitMs
  }
}

/** The pause that the other side asks for (Retry-After, RFC 9110 10.2.3), milliseconds. */
function askedMs(error: unknown): number {
  const { retryAfterS = 0 } = error as { retryAfterS?: number }
  return Math.min(retryAfterS * 1000, ASKED_MOST_MS)
}
