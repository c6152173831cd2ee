import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import { roughDuration } from '#runtime/duration.ts'
import { holderInWords, nextAbout, writerOf } from './lock-holders.ts'

/** A lock that was not met for so long may have been free in between: its time counts anew, milliseconds. */
const MET_WITHIN_MS = 5_000

/** The write lock of a database while another process has it. */
export class ForeignLock {
  readonly #path: string
  readonly #clock: Clock
  #since: number | null = null
  #metAt = Number.NEGATIVE_INFINITY

  constructor(path: string, clock: Clock) {
    this.#path = path
    this.#clock = clock
  }

  /** Since when it has been met at every try, by the clock that never jumps; null where it is free, or nobody has tried lately. */
  get since(): number | null {
    return this.#clock.now() - this.#metAt > MET_WITHIN_MS ? null : this.#since
  }

  get heldMs(): number {
    const { since } = this
    return since === null ? 0 : this.#clock.now() - since
  }

  /** A transaction could not begin. */
  met(): void {
    this.#since = this.since ?? this.#clock.now()
    this.#metAt = this.#clock.now()
  }

  /** A transaction began. */
  free(): void {
    this.#since = null
  }

  /** Who has it now, and what a person can do about it. */
  holder(): { readonly who: string; readonly next: string } {
    const holder = writerOf(this.#path)
    const who = holder === null ? 'a process that cannot be seen from here' : holderInWords(holder)
    return { who, next: nextAbout(holder, this.#path) }
  }

  /** What verbs are told that waited for it in vain. */
  refusal(): S2Error {
    const { who, next } = this.holder()
    const message = `the database ${this.#path} has been locked for ${roughDuration(this.heldMs)} by ${who}`
    return new S2Error('unavailable', message, { next: `${next}; nothing was written` })
  }
}
