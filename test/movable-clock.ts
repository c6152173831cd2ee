import { type Clock, systemClock } from '#runtime/clock.ts'

/** A running clock whose wall time can be moved. */
export class MovableClock implements Clock {
  readonly #clock: Clock
  offsetMs = 0

  constructor(clock: Clock = systemClock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  wall(): number {
    return this.#clock.wall() + this.offsetMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#clock.sleep(ms, signal)
  }

  /** Moves the wall time forward. */
  pass(ms: number): void {
    this.offsetMs += ms
  }
}
