import type { Clock } from '#runtime/clock.ts'

/** A clock that stands still until it is advanced: thirty minutes cost milliseconds. */
export class ManualClock implements Clock {
  #now = 1_000
  #wall = 1_750_000_000_000
  readonly #sleepers = new Set<{ readonly at: number; readonly wake: () => void }>()

  now(): number {
    return this.#now
  }

  wall(): number {
    return this.#wall
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason)
      const abort = (): void => {
        this.#sleepers.delete(sleeper)
        reject(signal?.reason)
      }
      const sleeper = {
        at: this.#now + Math.max(0, ms),
        wake: () => {
          this.#sleepers.delete(sleeper)
          signal?.removeEventListener('abort', abort)
          resolve()
        },
      }
      this.#sleepers.add(sleeper)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  /** Lets time pass: wakes each sleeper at its time, and lets everything that follows run. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    await settle()
    for (;;) {
      let next: { readonly at: number; readonly wake: () => void } | undefined
      for (const each of this.#sleepers) if (each.at <= until && each.at < (next?.at ?? Infinity)) next = each
      if (next === undefined) break
      this.#go(next.at - this.#now) // never backwards, where the sleeper is overdue
      next.wake()
      await settle()
    }
    this.#go(until - this.#now)
    await settle()
  }

  /** Lets time pass as in a paused process: sleepers that are due wake later. */
  pause(ms: number): void {
    this.#go(ms)
  }

  /** Moves the wall clock alone, as when it is set or the machine slept. */
  step(ms: number): void {
    this.#wall += ms
  }

  #go(ms: number): void {
    this.#now += Math.max(0, ms)
    this.#wall += Math.max(0, ms)
  }
}

/** Lets all promises and immediates that are ready run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
