import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'

/** Lines of the log for refused requests to join, in a minute. */
const TOLD_MAX = 10
const MINUTE_MS = 60_000

/** Logs refused requests to join: one by one, but anybody can send them, so those of a flood are counted. */
export class RefusedJoins {
  readonly #parts: { readonly clock: Clock; readonly log: Log }
  #began = Number.NEGATIVE_INFINITY
  #told = 0
  #untold = 0

  constructor(parts: { readonly clock: Clock; readonly log: Log }) {
    this.#parts = parts
  }

  note(why: string): void {
    const { clock, log } = this.#parts
    if (clock.now() - this.#began >= MINUTE_MS) this.#begin()
    if (this.#told < TOLD_MAX) log.warn('join request refused', { why })
    else this.#untold += 1
    this.#told += 1
  }

  #begin(): void {
    const { clock, log } = this.#parts
    if (this.#untold > 0) log.warn('more join requests refused', { count: this.#untold })
    this.#began = clock.now()
    this.#told = 0
    this.#untold = 0
  }
}
