/** Reading tasks, and telling verdicts, may each take one part in so many of the watchdog's time: deadlines come first. */
const SHARE = 200

/** What a work that is done again and again costs, and so how long to rest from it. */
export class Cost {
  #last = 0
  #before = 0

  note(ms: number): void {
    this.#before = this.#last
    this.#last = ms
  }

  /**
   * How long to rest, milliseconds. By the cheaper of the last two times: a large fleet costs as much each time, whereas a
   * disk that stalled once is no reason to leave people without news.
   */
  restMs(mostMs: number): number {
    return Math.min(mostMs, SHARE * Math.min(this.#last, this.#before))
  }
}
