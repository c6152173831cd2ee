import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'

/** A token bucket for each session or address: a minute's requests at once, then as they flow back. */
export class RateLimit {
  readonly #perMinute: number
  readonly #clock: Clock
  readonly #left = new Map<string, { left: number; at: number }>()

  constructor(perMinute: number, clock: Clock) {
    this.#perMinute = perMinute
    this.#clock = clock
  }

  /** Takes `amount`; answers 0, or how many seconds to wait until there is enough. */
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

  /** Whether there is `amount` left; takes nothing. */
  has(who: string, amount = 1): boolean {
    const account = this.#left.get(who)
    if (account === undefined) return true
    return account.left + ((this.#clock.now() - account.at) * this.#perMinute) / 60_000 >= amount
  }

  /** Forgets those without a request for a minute: their buckets are full. */
  forgetIdle(): void {
    const now = this.#clock.now()
    for (const [who, { at }] of this.#left) if (now - at >= 60_000) this.#left.delete(who)
  }
}

export function rateLimited(waitS: number, who = 'this session'): S2Error {
  return new S2Error('rate_limited', `${who} has made too many requests`, {
    next: 'ask less often, or raise S2_RATE of the bridge',
    retryAfterS: waitS,
  })
}
