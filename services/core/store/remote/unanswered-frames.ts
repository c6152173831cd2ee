import type { S2Error } from '#fleet/errors.ts'

/** The bridge cuts a socket with a hundred marks under way. */
const MARKS_MAX = 64

interface Unanswered {
  readonly isMark: boolean
  readonly outcome: PromiseWithResolvers<void>
}

/** The frames of a link that the bridge has still to answer, by their numbers; marks among them have a limit. */
export class UnansweredFrames {
  readonly #waiting = new Map<number, Unanswered>()
  #lastNumber = 0
  #marks = 0
  readonly #marksWaiting: (() => void)[] = []

  /** Settles when one more mark may be sent; null while it may. */
  untilMarkHasRoom(): Promise<void> | null {
    if (this.#marks < MARKS_MAX) return null
    return new Promise((resolve) => this.#marksWaiting.push(resolve))
  }

  /** Answers the number of a new frame, and what settles when it is answered. */
  add({ isMark }: { readonly isMark: boolean }): { readonly n: number; readonly answered: Promise<void> } {
    this.#lastNumber += 1
    const outcome = Promise.withResolvers<void>()
    this.#waiting.set(this.#lastNumber, { isMark, outcome })
    if (isMark) this.#marks += 1
    return { n: this.#lastNumber, answered: outcome.promise }
  }

  /** The frame of this number was answered: with an error, or null where it was done. */
  settle(n: number, error: S2Error | null): void {
    const unanswered = this.#waiting.get(n)
    if (unanswered === undefined) return
    this.#waiting.delete(n)
    if (unanswered.isMark) {
      this.#marks -= 1
      this.#marksWaiting.shift()?.()
    }
    if (error === null) unanswered.outcome.resolve()
    else unanswered.outcome.reject(error)
  }

  /** None of them will be answered any more. Who waits for room is let go as well: nothing that is answered would wake them. */
  failAll(why: () => S2Error): void {
    for (const n of [...this.#waiting.keys()]) this.settle(n, why())
    for (const go of this.#marksWaiting.splice(0)) go()
  }
}
