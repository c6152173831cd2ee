import { setTimeout as sleepTimer } from 'node:timers/promises'

/** Time as an argument, so that thirty minutes cost milliseconds in a test. */
export interface Clock {
  /** Milliseconds of a clock that never jumps and stands still in suspend (CLOCK_MONOTONIC), for measuring waits. */
  now(): number
  /** Milliseconds since 1970, UTC, by the machine's clock, for showing and storing; never for measuring silence. */
  wall(): number
  /** Waits; rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The longest wait that a timer of Node can make, 24.8 days: a longer one ends at once. */
const TIMER_MS_MAX = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  sleep: async (ms, signal) => {
    const options = signal === undefined ? {} : { signal }
    let leftMs = ms
    for (; leftMs > TIMER_MS_MAX; leftMs -= TIMER_MS_MAX) await sleepTimer(TIMER_MS_MAX, undefined, options)
    await sleepTimer(leftMs, undefined, options)
  },
}

/**
 * The wall clock in whole microseconds: always within the millisecond that it says, divided by the monotonic clock, and never
 * back while the wall clock goes on.
 */
export class MicrosecondClock {
  readonly #clock: Pick<Clock, 'now' | 'wall'>
  /** From the monotonic clock to the wall clock, microseconds. */
  #offset: number | undefined

  constructor(clock: Pick<Clock, 'now' | 'wall'>) {
    this.#clock = clock
  }

  /** Microseconds since 1970, UTC. */
  wall(): number {
    const from = Math.floor(this.#clock.wall()) * 1000
    const monotonic = Math.floor(this.#clock.now() * 1000)
    const at = Math.min(Math.max(monotonic + (this.#offset ?? from - monotonic), from), from + 999)
    this.#offset = at - monotonic
    return at
  }
}

/** A moment by both clocks, milliseconds. */
export interface Moment {
  readonly now: number
  readonly wall: number
}

export function momentOf(clock: Pick<Clock, 'now' | 'wall'>): Moment {
  return { now: clock.now(), wall: clock.wall() }
}

/**
 * How much time may have passed since a moment, for rights that end by themselves. Both clocks count: the monotonic one stands
 * still while the machine is suspended, the wall clock does not. A wall clock that is set forward ends a right early, and one
 * that is set back changes nothing.
 */
export function elapsedMs(since: Moment, clock: Pick<Clock, 'now' | 'wall'>): number {
  return Math.max(clock.now() - since.now, clock.wall() - since.wall)
}

/** Chance as an argument: a number in [0, 1). */
export type Chance = () => number

export const systemChance: Chance = Math.random
