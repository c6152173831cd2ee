/** One wait between two reads; the kernel makes 0.1 ms of it. */
const NAP_MS = 0.05
/** The longest wait in place: the event loop stands still meanwhile. */
const NAP_MS_MAX = 0.1
/** The shortest wait of a timer. */
const TIMER_MS = 1
/** Timers come late by about so much. */
const TIMER_LATE_MS = 0.3
/** A commit that is late by more than its own time and so much on top is not worth naps any more. */
const OVERDUE_MS = 4
/** After the last event of a writer, timers are short for so long, then grow; after the longer time nothing is expected. */
const SHORT_WAITS_MS = 20
const SILENCE_MS = 500
/** Commits to learn from. */
const LEARNED_MAX = 16

/**
 * When to read next after the frames of a commit were heard. A foreign writer's frames are written before its commit can be
 * read, by as long as its disk takes; so that time is learned, and waited for with one timer where it is long.
 */
export class CommitTiming {
  readonly #tookMs: number[] = []
  #expectedMs = 0

  /**
   * A commit could be read so long after its first frames were heard; `at most` where it was there when a timer ended. Such a
   * one counts as half as long: otherwise a disk that became faster would be waited for as before, and so never be noticed.
   */
  learn(tookMs: number, sure: 'exactly' | 'at most'): void {
    this.#tookMs.push(sure === 'exactly' ? tookMs : tookMs / 2)
    if (this.#tookMs.length > LEARNED_MAX) this.#tookMs.shift()
    // the lower quartile: a read too early costs a few naps, one too late delays the rows
    this.#expectedMs = this.#tookMs.toSorted((one, other) => one - other)[this.#tookMs.length >> 2] ?? 0
  }

  /**
   * The wait before the next read: in place where it is less than a millisecond, by a timer otherwise; null to give up.
   * `elapsedMs`: since the first event of the frames; `silentMs`: since the last event.
   */
  waitMs(elapsedMs: number, silentMs: number): number | null {
    const expected = this.#expectedMs
    const aheadMs = 0.9 * expected - elapsedMs
    if (aheadMs > TIMER_MS + 0.5) return Math.max(TIMER_MS, Math.floor(aheadMs - TIMER_LATE_MS))
    const overdueMs = elapsedMs - expected
    if (overdueMs < expected + OVERDUE_MS) return Math.min(NAP_MS_MAX, Math.max(NAP_MS, overdueMs / 8))
    if (silentMs > SILENCE_MS) return null
    return silentMs < SHORT_WAITS_MS ? TIMER_MS : silentMs / 4
  }
}
