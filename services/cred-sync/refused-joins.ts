import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'

/** Lines of the log for refused requests to join, in a minute. */
const TOLD_MAX = 10
const MINUTE_MS = 60_000

/** Logs refused requests to join: one by one, but anybody can send them, so those of a flood are counted. */
export class RefusedJoins {
  readonly #parts: { readonly clock: Clock; readonly log: Log }
  #began = Number.NEGATIVE_INFINITY
  #inMinute = 0

  constructor(parts: { readonly clock: Clock; readonly log: Log }) {
    this.#parts = parts
  }

  note(why: string): void {
    const { clock, log } = this.#parts
    if (clock.now() - this.#began >= MINUTE_MS) this.#begin()
    this.#inMinute += 1
    if (this.#inMinute <= TOLD_MAX) log.warn('join request refused', { why })
  }

  #begin(): void {
    const { clock, log } = this.#parts
    const count = this.#inMinute - TOLD_MAX
    if (count > 0) log.warn('more join requests refused', { count })
    this.#began = clock.now()
    this.#inMinute = 0
  }
}
