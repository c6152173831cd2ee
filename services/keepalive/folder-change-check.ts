import type { Clock } from '#runtime/clock.ts'

/** A file system's clock may stand still for this long: two changes within it can bear the same time. */
const GRAIN_MS = 50

/**
 * Says whether a directory must be read again, by asking only for its version, which costs next to nothing. After a change the
 * directory counts as changed until a reading took place so much later that no further change can hide behind the same version.
 */
export class FolderChangeCheck {
  readonly #clock: Clock
  readonly #version: (() => string) | undefined
  #seen: string | null = null
  #seenAt = 0
  #isSettled = false

  /** `version` changes when a name comes or goes; undefined: nobody knows, and the directory always counts as changed. */
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

  /** The last reading failed or does not suffice: the directory counts as changed. */
  reset(): void {
    this.#seen = null
  }
}
