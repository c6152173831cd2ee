/**
 * Finds out by looks at a steady pace whether the other end of a connection still answers. All times are of the monotonic
 * clock, milliseconds.
 */
export class SilenceCheck {
  readonly #probeMs: number
  #sentAt = 0
  #lookedAt: number
  /** When the oldest frame without an answer was sent; later by the time that this host itself was paused. */
  #unansweredSince: number | null = null

  /** `probeMs`: how long nothing may be sent before the other end is asked. Looks come twice as often. */
  constructor(probeMs: number, now: number) {
    this.#probeMs = probeMs
    this.#lookedAt = now
  }

  sent(now: number): void {
    this.#sentAt = now
  }

  /** Something was sent that wants an answer. */
  asked(now: number): void {
    this.#unansweredSince ??= now
  }

  /** Anything was heard, or the connection has ended: no answer is waited for. */
  heard(): void {
    this.#unansweredSince = null
  }

  /** `gone`: no answer came for too long. `ask`: it is time to ask whether the other end is there. */
  look(now: number): 'well' | 'ask' | 'gone' {
    const pausedMs = Math.max(0, now - this.#lookedAt - this.#probeMs)
    this.#lookedAt = now
    if (this.#unansweredSince !== null) this.#unansweredSince += pausedMs // the answer may have come, and not been read
    const waitedMs = this.#unansweredSince === null ? 0 : now - this.#unansweredSince
    if (waitedMs >= this.#probeMs * 1.5) return 'gone'
    return now - this.#sentAt >= this.#probeMs ? 'ask' : 'well'
  }
}
