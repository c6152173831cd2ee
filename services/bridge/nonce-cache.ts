import { S2Error } from '#fleet/errors.ts'
import { ClockError } from '#store/remote/problem-details.ts'
import type { SignatureTime } from './signature-time.ts'

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
  readonly #time: Pick<SignatureTime, 'now'>
  readonly #bySecond = new Map<number, Set<string>>()
  #count = 0
  /** Nothing that was created in this second or before is accepted. */
  readonly #barrier: number
  #purgedAt: number

  /** `time` never goes back. */
  constructor(time: Pick<SignatureTime, 'now'>) {
    this.#time = time
    this.#purgedAt = Math.floor(time.now() / 1000)
    this.#barrier = this.#purgedAt + AHEAD_S
  }

  /** Throws `expired` with the time to sign by, or `unauthenticated` when this nonce was used before. */
  admit(created: number, nonce: string): void {
    this.demandTimely(created)
    this.#remember(created, nonce)
  }

  /** Throws `expired` with the time to sign by; remembers nothing. */
  demandTimely(created: number): void {
    const nowMs = this.#time.now()
    const now = Math.floor(nowMs / 1000)
    if (now !== this.#purgedAt) this.#purge(now)
    if (created > now + AHEAD_S || created < now - WINDOW_S) {
      throw new ClockError(
        `the request was signed ${Math.abs(created - now)} s ${created > now ? 'ahead' : 'ago'}`,
        nowMs,
        { next: `sign it by the time that this answer names: at most ${WINDOW_S} s old` },
      )
    }
    if (created <= this.#barrier) {
      throw new ClockError('the bridge has started since the request was signed', nowMs, {
        next: 'sign it again in a moment',
        retryAfterS: Math.max(0, this.#barrier + 1 - nowMs / 1000),
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
    }
  }
}
