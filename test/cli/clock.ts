import type { Clock } from '../../services/core/runtime/clock.ts'

interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

/** A clock that stands still until it is told to go: thirty minutes cost milliseconds. */
export class ManualClock implements Clock {
  #now = 1_000
  #wall = 1_750_000_000_000
  #sleepers: Sleeper[] = []

  now(): number {
    return this.#now
  }

  wall(): number {
    return this.#wall
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason)
      const sleeper = { at: this.#now + Math.max(0, ms), wake: resolve }
      this.#sleepers.push(sleeper)
      signal?.addEventListener('abort', () => {
        this.#sleepers = this.#sleepers.filter((each) => each !== sleeper)
        reject(signal.reason)
      })
    })
  }

  /** Lets time pass, waking each sleeper at its moment and letting all that follows happen. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    await settle()
    for (;;) {
      const next = this.#sleepers.filter(({ at }) => at <= until).sort((x, y) => x.at - y.at)[0]
      if (next === undefined) break
      this.#sleepers = this.#sleepers.filter((each) => each !== next)
      this.#go(Math.max(0, next.at - this.#now))
      next.wake()
      await settle()
    }
    this.#go(until - this.#now)
    await settle()
  }

  /** The process is paused: time passes and nobody notices; then everybody who is due wakes at once. */
  async pause(ms: number): Promise<void> {
    this.#go(ms)
    await this.advance(0)
  }

  /** The machine sleeps: only the wall clock goes on. */
  async suspend(ms: number): Promise<void> {
    this.#wall += ms
    await settle()
  }

  #go(ms: number): void {
    this.#now += ms
    this.#wall += ms
  }
}

/** Lets all promises and immediates that are ready run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
