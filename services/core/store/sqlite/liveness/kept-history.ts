import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { HistoryGuard } from '../history/history-guard.ts'
import type { HistoryMark, KeptMark } from '../history/history-mark.ts'
import type { LivenessFile } from './liveness-file.ts'

/** The mark is written at most this often, milliseconds: ids skip far more than are given in that time. */
const KEPT_EVERY_MS = 1_000

/** How far the message database had come, kept beside it: a state of it that was put back does not know. */
export class KeptHistory {
  readonly #file: LivenessFile
  readonly #history: HistoryGuard
  readonly #clock: Clock
  #kept: HistoryMark | null = null
  /** The file that has it. */
  #in: unknown = null
  #keptAt = Number.NEGATIVE_INFINITY

  constructor(file: LivenessFile, history: HistoryGuard, clock: Clock) {
    this.#file = file
    this.#history = history
    this.#clock = clock
  }

  /** What an earlier process kept; null where there is nothing, or where it cannot be read. */
  async read(log: Pick<Log, 'warn'>): Promise<KeptMark | null> {
    try {
      const kept = await this.#file.read((connection) =>
        connection.get<KeptMark>('SELECT store, message, entry, hash FROM history'),
      )
      return kept ?? null
    } catch (error) {
      log.warn('nothing is known of where the database had come to', { error })
      return null
    }
  }

  async keep(): Promise<void> {
    if (this.#clock.now() - this.#keptAt >= KEPT_EVERY_MS) await this.keepLast()
  }

  async keepLast(): Promise<void> {
    const { seen } = this.#history
    if (seen === null || (seen === this.#kept && this.#file.identity === this.#in)) return
    if (this.#history.hasGoneOnWithoutUs()) return // another program has kept what it made of it
    this.#keptAt = this.#clock.now()
    await this.#file.write((connection) =>
      connection.run(
        'INSERT OR REPLACE INTO history (id, store, message, entry, hash) VALUES (1, ?, ?, ?, ?)',
        this.#history.store,
        seen.message,
        seen.entry,
        seen.hash,
      ),
    )
    this.#kept = seen
    this.#in = this.#file.identity
  }
}
