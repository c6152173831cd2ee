import { S2Error } from '#fleet/errors.ts'
import type { Log } from '#runtime/log.ts'
import { ClockError } from '#store/remote/problem-details.ts'

/** How old a signature may be, seconds. */
const WINDOW_S = 60
/**
 * How far it may lie ahead, seconds. Not a minute too: a signature that lies ahead could be replayed after a restart, which
 * forgets nonces, so the bridge would have to refuse all signatures until then. A caller whose clock is ahead is told the
 * right time instead.
 */
const AHEAD_S = 1
/** Of about 100 bytes each. */
const REMEMBERED_MAX = 1_000_000

/**
 * Accepts every signed request once. Nonces are remembered for as long as their time is accepted, in memory only: what was
 * signed before this cache began is refused, so that no request can be replayed after a restart.
 */
export class NonceCache {
  readonly #log: Log
  readonly #bySecond = new Map<number, Set<string>>()
  #count = 0
  /** Nothing that was created in this second or before is accepted. */
  #barrier: number
  #purgedAt: number

  /** `wallMs`: now. */
  constructor(wallMs: number, log: Log) {
    this.#log = log
    this.#purgedAt = Math.floor(wallMs / 1000)
    this.#barrier = this.#purgedAt + AHEAD_S
  }

  /** Throws `expired` with the time of this clock, or `unauthenticated` when this nonce was used before. */
  admit(created: number, nonce: string, wallMs: number): void {
    this.demandTimely(created, wallMs)
    this.#remember(created, nonce)
  }

  /** Throws `expired` with the time of this clock; remembers nothing. */
  demandTimely(created: number, wallMs: number): void {
    const now = Math.floor(wallMs / 1000)
    if (now !== this.#purgedAt) this.#purge(now)
    if (created > now + AHEAD_S || created < now - WINDOW_S) {
      throw new ClockError(
        `the request was signed ${Math.abs(created - now)} s ${created > now ? 'ahead' : 'ago'}`,
        wallMs,
        {
          next: `sign it with a correct clock: at most ${WINDOW_S} s old`,
        },
      )
    }
    if (created <= this.#barrier) {
      throw new ClockError('the bridge has started since the request was signed', wallMs, {
        next: 'sign it again in a moment',
        retryAfterS: Math.max(0, this.#barrier + 1 - wallMs / 1000),
      })
    }
  }

  get size(): number {
    return this.#count
  }

  #remember(created: number, nonce: string): void {
    let nonces = this.#bySecond.get(created)
    if (nonces === undefined) {
      nonces = new Set()
      this.#bySecond.set(created, nonces)
    }
    if (nonces.has(nonce)) {
      throw new S2Error('unauthenticated', 'the same signed request was made before', {
        next: 'sign it again, with another nonce',
      })
    }
    if (this.#count >= REMEMBERED_MAX) {
      throw new S2Error('unavailable', 'the bridge has more requests than it can remember', {
        next: 'try again in a while',
        retryAfterS: 1,
      })
    }
    nonces.add(nonce)
    this.#count += 1
  }

  #purge(now: number): void {
    this.#purgedAt = now
    for (const [created, nonces] of this.#bySecond) {
      if (created >= now - WINDOW_S) continue
      this.#bySecond.delete(created)
      this.#count -= nonces.size
      // If the clock is set back, a nonce that is forgotten here must not be accepted again.
      this.#barrier = Math.max(this.#barrier, created)
    }
    if (this.#barrier <= now + AHEAD_S) return
    this.#log.warn('clock set back, refusing signatures of before', { seconds: this.#barrier - now })
    this.#barrier = now + AHEAD_S
  }
}
