/** How long to rest between rounds of a repeated work, in proportion to what a round costs. */
export class RestByCost {
  readonly #factor: number
  #last = 0
  #before = 0

  /** `factor`: the rest after a round, in multiples of its duration. */
  constructor(factor: number) {
    this.#factor = factor
  }

  note(ms: number): void {
    this.#before = this.#last
    this.#last = ms
  }

  /**
   * The rest in milliseconds, at most `mostMs`. The cheaper of the last two rounds counts, so that a disk that stalled once
   * does not delay the next round.
   */
  restMs(mostMs: number): number {
    return Math.min(mostMs, this.#factor * Math.min(this.#last, this.#before))
  }
}
