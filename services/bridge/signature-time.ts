import { type Clock, momentOf } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'

/** A clock that is set back by less, milliseconds, is nothing to tell of: no caller notices it. */
const TOLD_FROM_MS = 1_000

/**
 * The time by which signatures are judged: the wall clock, which goes on as before where that is set back. A request that was
 * made once would count again if its time came again, as its nonce is forgotten by then. Callers are told this time and sign by
 * it, until the wall clock has caught up or the bridge begins anew.
 */
export class SignatureTime {
  readonly #clock: Clock
  readonly #log: Log
  /** When it was asked for last, by the monotonic clock, and what it was. */
  #asked: number
  #at: number
  #isTold = false

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
    const { now, wall } = momentOf(clock)
    this.#asked = now
    this.#at = wall
  }

  /** Milliseconds since 1970, UTC; never less than it was. */
  now(): number {
    const { now, wall } = momentOf(this.#clock)
    this.#at = Math.max(wall, this.#at + Math.max(0, now - this.#asked))
    this.#asked = now
    this.#tell(this.#at - wall)
    return this.#at
  }

  #tell(aheadMs: number): void {
    const isAhead = aheadMs >= TOLD_FROM_MS
    if (isAhead && !this.#isTold) {
      const seconds = Math.round(aheadMs / 1000)
      this.#log.warn('clock set back, callers sign by the time of before', { seconds })
    }
    this.#isTold = isAhead
  }
}
