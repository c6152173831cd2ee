import type { Log } from '#runtime/log.ts'

/** Rows beyond this many are passed over without a word. */
const TOLD_MAX = 1000

/** Tells, once for each row, what foreign writers left in the shared tables that makes no sense to us. */
export class MalformedRows {
  readonly #log: Log
  readonly #told = new Set<string>()

  constructor(log: Log) {
    this.#log = log
  }

  tell(kind: 'conversation' | 'message' | 'heartbeat' | 'task', row: number | string): void {
    const name = `${kind} ${row}`
    if (this.#told.has(name) || this.#told.size >= TOLD_MAX) return
    this.#told.add(name)
    this.#log.warn('a malformed row of a foreign writer is passed over', { kind, row })
  }
}
