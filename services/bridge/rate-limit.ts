import type { Clock } from '#runtime/clock.ts'

/** How many requests each session may still make: a minute's worth at once, then as they flow back. */
export class RateLimit {
  readonly #perMinute: number
  readonly #clock: Clock
  readonly #left = new Map<string, { left: number; at: number }>()

  constructor(perMinute: number, clock: Clock) {
    this.#perMinute = perMinute
    this.#clock = clock
  }

  /** Takes one; answers 0, or how many seconds to wait for the next. */
  spend(who: string, amount = 1): number {
    const now = this.#clock.now()
    const account = this.#left.get(who)
    if (account === undefined) {
      this.#left.set(who, { left: this.#perMinute - amount, at: now })
      return 0
    }
    account.left = Math.min(this.#perMinute, account.left + ((now - account.at) * this.#perMinute) / 60_000)
    account.at = now
    if (account.left < amount) return ((amount - account.left) * 60) / this.#perMinute
    account.left -= amount
    return 0
  }

  /** Forgets whoever has made no request for a minute: all of it has flowed back. */
  forgetIdle(): void {
    const now = this.#clock.now()
    for (const [who, { at }] of this.#left) if (now - at >= 60_000) this.#left.delete(who)
  }
}
