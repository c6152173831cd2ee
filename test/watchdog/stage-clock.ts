import type { Clock } from '#runtime/clock.ts'

interface Sleeper {
  readonly at: number
  wake(): void
}

/** Stands still until a test moves it; then everybody wakes in order, each with all that follows from it done. */
export class StageClock implements Clock {
  #now = 1_000
  #sleepers: Sleeper[] = []
  /** How far the wall clock lies from where it began, as somebody sets it. */
  wallShiftMs = 0

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now + this.wallShiftMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason)
        return
      }
      const onAbort = (): void => {
        this.#sleepers = this.#sleepers.filter((each) => each !== sleeper)
        reject(signal?.reason)
      }
      const wake = (): void => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      const sleeper = { at: this.#now + Math.max(0, ms), wake }
      this.#sleepers.push(sleeper)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve))
      const next = this.#sleepers.reduce<Sleeper | null>((best, each) => {
        return each.at <= end && (best === null || each.at < best.at) ? each : best
      }, null)
      if (next === null) break
      this.#sleepers = this.#sleepers.filter((each) => each !== next)
      this.#now = Math.max(this.#now, next.at)
      next.wake()
    }
    this.#now = end
  }
}
