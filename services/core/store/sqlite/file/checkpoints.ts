import { statSync } from 'node:fs'
import type { Clock } from '#runtime/clock.ts'
import type { SqliteConnection } from './connection.ts'
import { isBusy } from './sqlite-errors.ts'

/** How often the log is checked while something is written, milliseconds. */
const LOOK_MS = 100
/** With more pages of 4 KiB in the log a checkpoint runs even between writes: a few milliseconds of work. */
const PAGES_MAX = 1000
/** A longer log file is truncated when nobody writes, bytes. */
const FILE_MAX = 4 * 1024 * 1024
/** Tries to truncate a log that others keep open; after that the next write starts it again. */
const TRIES_MAX = 50

/**
 * Runs checkpoints between commits, so that no commit pays for one and the write-ahead log stays small. Checks only after
 * something was written: an idle store costs nothing.
 */
export class Checkpoints {
  readonly #connection: SqliteConnection
  readonly #log: string
  readonly #clock: Clock
  readonly #signal: AbortSignal
  readonly #isSure: () => boolean
  readonly #onError: (error: unknown) => void
  #isRunning = false

  constructor(
    connection: SqliteConnection,
    path: string,
    parts: {
      readonly clock: Clock
      readonly signal: AbortSignal
      /** Whether the files are the ones that were opened: a checkpoint would write the log over others. */
      isSure(): boolean
      onError(error: unknown): void
    },
  ) {
    this.#connection = connection
    this.#log = `${path}-wal`
    this.#clock = parts.clock
    this.#signal = parts.signal
    this.#isSure = parts.isSure
    this.#onError = parts.onError
  }

  /** To be called after a commit. */
  start(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    void this.#run()
  }

  /**
   * What is in the log and could not be moved into the file, bytes. A log file that is small is not looked into. Null where nobody
   * can say: whoever reads or writes next tells why.
   */
  unmovedBytes(): number | null {
    try {
      return this.#isSmall() ? 0 : this.#pagesWaiting() * Number(this.#connection.pragma('page_size'))
    } catch {
      return null
    }
  }

  async #run(): Promise<void> {
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
    this.#isRunning = false
  }

  #isSmall(): boolean {
    return (statSync(this.#log, { throwIfNoEntry: false })?.size ?? 0) <= FILE_MAX
  }

  #pagesWaiting(): number {
    const state = this.#connection.get<{ log: number; checkpointed: number }>('PRAGMA wal_checkpoint(NOOP)')
    return state === undefined ? 0 : state.log - state.checkpointed
  }

  #checkpoint(how: 'PASSIVE' | 'TRUNCATE'): void {
    if (!this.#isSure()) return
    try {
      this.#connection.get(`PRAGMA wal_checkpoint(${how})`)
    } catch (error) {
      if (!isBusy(error)) throw error // others are reading or writing: the next check tries again
    }
  }
}
