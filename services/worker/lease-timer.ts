import type { Clock } from '#runtime/clock.ts'

/** When something was asked for, by both clocks. */
export interface LeaseStamp {
  readonly now: number
  readonly wall: number
}

/**
 * The right to work on one task, timed by its holder: from the moment it asked, not from the answer, and with a
 * margin, so that it always ends here before it can end for an observer (who counts from when it saw the renewal).
 *
 * Both clocks count. The monotonic one stands still while the machine is suspended, the wall clock does not; a wall
 * clock that is set forward only costs a renewal that was not needed, one set back changes nothing.
 */
export class LeaseTimer {
  readonly #leaseMs: number
  readonly #clock: Clock
  #asked: LeaseStamp

  /** `asked`: taken before the store was asked for the task. */
  constructor(leaseMs: number, clock: Clock, asked: LeaseStamp) {
    this.#leaseMs = leaseMs
    this.#clock = clock
    this.#asked = asked
  }

  /** To be taken before a renewal is asked for, and handed to `renewed` when it was granted. */
  static stamp(clock: Clock): LeaseStamp {
    return { now: clock.now(), wall: clock.wall() }
  }

  renewed(asked: LeaseStamp): void {
    this.#asked = asked
  }

  /** Milliseconds until the holder must have stopped; zero or less: it may have another owner by now. */
  leftMs(): number {
    const since = Math.max(this.#clock.now() - this.#asked.now, this.#clock.wall() - this.#asked.wall)
    return this.#leaseMs - marginOf(this.#leaseMs) - since
  }

  /** Milliseconds until the next renewal is due. */
  renewInMs(): number {
    return Math.max(0, this.leftMs() - (this.#leaseMs - marginOf(this.#leaseMs)) + this.#leaseMs / 3)
  }
}

/** The part of a lease that is left for stopping: a last question, TERM, and KILL, a third each. */
export function marginOf(leaseMs: number): number {
  return leaseMs / 6
}
