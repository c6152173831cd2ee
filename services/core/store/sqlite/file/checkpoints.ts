import { statSync } from 'node:fs'
import type { Clock } from '#runtime/clock.ts'
import type { SqliteConnection } from './connection.ts'
import { isBusy } from './sqlite-errors.ts'

/** How often the log is looked at while something is written, milliseconds. */
const LOOK_MS = 100
/** Pages of 4 KiB in the log that are carried over even while writes go on: a few milliseconds of work. */
const PAGES_MAX = 1000
/** Bytes of the log's file beyond which it is cut when nobody writes. */
const FILE_MAX = 4 * 1024 * 1024
/** Looks at a quiet log that others keep from being cut; after that it waits for the next write. */
const TRIES_MAX = 50

/**
 * Carries the write-ahead log over into the database between commits, so that no commit pays for it and the log stays
 * small. Looks only after something was written: an idle store costs nothing.
 */
export class Checkpoints {
  readonly #connection: SqliteConnection
  readonly #log: string
  readonly #clock: Clock
  readonly #signal: AbortSignal
  readonly #onError: (error: unknown) => void
  #isMinding = false

  constructor(
    connection: SqliteConnection,
    path: string,
    parts: { readonly clock: Clock; readonly signal: AbortSignal; onError(error: unknown): void },
  ) {
    this.#connection = connection
    this.#log = `${path}-wal`
    this.#clock = parts.clock
    this.#signal = parts.signal
    this.#onError = parts.onError
  }

  /** To be called after a commit. */
  mind(): void {
    if (this.#isMinding) return
    this.#isMinding = true
    void this.#mind()
  }

  async #mind(): Promise<void> {
    try {
      for (let tries = 0; tries < TRIES_MAX; ) {
        const before = this.#connection.changes
        await this.#clock.sleep(LOOK_MS, this.#signal)
        const isQuiet = this.#connection.changes === before
        if (isQuiet && this.#isSmall()) break
        if (isQuiet) this.#checkpoint('TRUNCATE')
        else if (this.#pagesWaiting() > PAGES_MAX) this.#checkpoint('PASSIVE')
        tries = isQuiet ? tries + 1 : 0
      }
    } catch (error) {
      if (!this.#signal.aborted) this.#onError(error)
    }
    this.#isMinding = false
  }

  #isSmall(): boolean {
    return (statSync(this.#log, { throwIfNoEntry: false })?.size ?? 0) <= FILE_MAX
  }

  #pagesWaiting(): number {
    const state = this.#connection.get<{ log: number; checkpointed: number }>('PRAGMA wal_checkpoint(NOOP)')
    return state === undefined ? 0 : state.log - state.checkpointed
  }

  #checkpoint(how: 'PASSIVE' | 'TRUNCATE'): void {
    try {
      this.#connection.get(`PRAGMA wal_checkpoint(${how})`)
    } catch (error) {
      if (!isBusy(error)) throw error // others read or write just now: the next look comes
    }
  }
}
