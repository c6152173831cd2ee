import { type Clock, elapsedMs, type Moment, momentOf } from '#runtime/clock.ts'

/** The time of a request, by both clocks. */
export type LeaseStamp = Moment

/**
 * The lease of one task, timed by its holder: from the request, not from the answer, and with a margin, so that it always
 * ends here before it can end for an observer, who counts from when it saw the renewal.
 *
 * Both clocks count: a wall clock that is set forward costs one needless renewal; one that is set back changes nothing.
 */
export class LeaseTimer {
  readonly #leaseMs: number
  readonly #clock: Clock
  #asked: LeaseStamp

  /** `asked`: the time before the store was asked for the task. */
  constructor(leaseMs: number, clock: Clock, asked: LeaseStamp) {
    this.#leaseMs = leaseMs
    this.#clock = clock
    this.#asked = asked
  }

  /** Take it before a renewal is requested, and pass it to `renewed` when it is granted. */
  static stamp(clock: Clock): LeaseStamp {
    return momentOf(clock)
  }

  renewed(asked: LeaseStamp): void {
    this.#asked = asked
  }

  /** Milliseconds until the holder must have stopped; zero or less: the task may have another holder by now. */
  leftMs(): number {
    return this.#leaseMs - marginOf(this.#leaseMs) - elapsedMs(this.#asked, this.#clock)
  }

  /** Milliseconds until the next renewal is due. */
  renewInMs(): number {
    return Math.max(0, this.leftMs() - (this.#leaseMs - marginOf(this.#leaseMs)) + this.#leaseMs / 3)
  }
}

/** The part of a lease that is kept for stopping, milliseconds: a last request, TERM, and KILL take a third each. */
export function marginOf(leaseMs: number): number {
  return leaseMs / 6
}
