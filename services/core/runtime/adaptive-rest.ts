/** What a work that is done again and again costs, and so how long to rest from it. */
export class AdaptiveRest {
  readonly #factor: number
  #last = 0
  #before = 0

  /** Each work is followed by a rest of so many times what it cost. */
  constructor(factor: number) {
    this.#factor = factor
  }

  note(ms: number): void {
    this.#before = this.#last
    this.#last = ms
  }

  /**
   * How long to rest, milliseconds. By the cheaper of the last two times: what is large costs as much each time, whereas a
   * disk that stalled once is no reason to leave people without news.
   */
  restMs(mostMs: number): number {
    return Math.min(mostMs, this.#factor * Math.min(this.#last, this.#before))
  }
}
