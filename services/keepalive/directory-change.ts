import type { Clock } from '#runtime/clock.ts'

/** The clock of a file system may stand still for so long: two changes within it can bear one time. */
const GRAIN_MS = 50

/**
 * Says whether a folder must be read, by what costs next to nothing to ask. A folder that has changed is read until a reading
 * lay so long after the change that none can have slipped in behind it unseen.
 */
export class DirectoryChange {
  readonly #clock: Clock
  readonly #version: (() => string) | undefined
  #seen: string | null = null
  #seenAt = 0
  #isSettled = false

  constructor(clock: Clock, version: (() => string) | undefined) {
    this.#clock = clock
    this.#version = version
  }

  mayHaveChanged(): boolean {
    if (this.#version === undefined) return true
    const version = this.#version()
    const now = this.#clock.now()
    if (version !== this.#seen) {
      this.#seen = version
      this.#seenAt = now
      this.#isSettled = false
      return true
    }
    if (this.#isSettled) return false
    this.#isSettled = now - this.#seenAt >= GRAIN_MS
    return true
  }

  /** What was read last did not count. */
  reset(): void {
    this.#seen = null
  }
}
