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

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  sleep: (ms, signal) => sleepTimer(ms, undefined, signal === undefined ? {} : { signal }),
}

/** Chance as an argument: a number in [0, 1). */
export type Chance = () => number

export const systemChance: Chance = Math.random
