import { type Clock, systemClock } from '#runtime/clock.ts'

/** A running clock whose wall time can be moved, and whose monotonic time can be advanced; waits stay real. */
export class MovableClock implements Clock {
  readonly #clock: Clock
  offsetMs = 0
  #elapsedMs = 0

  constructor(clock: Clock = systemClock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now() + this.#elapsedMs
  }

  wall(): number {
    return this.#clock.wall() + this.offsetMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#clock.sleep(ms, signal)
  }

  /** Moves the monotonic time forward, and the wall time not at all. */
  elapse(ms: number): void {
    this.#elapsedMs += ms
  }

  /** Moves the wall time forward. */
  pass(ms: number): void {
    this.offsetMs += ms
  }
}
