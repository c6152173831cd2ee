import type { Fields, Log } from '#runtime/log.ts'

/** Malformed rows beyond this many are passed over without a log line. */
const REPORTED_MAX = 1000

/** Logs each row of the shared tables that S2 cannot read, once. Foreign writers leave them there. */
export class MalformedRows {
  readonly #log: Log
  readonly #reported = new Set<string>()

  constructor(log: Log) {
    this.#log = log
  }

  report(kind: 'conversation' | 'message' | 'heartbeat' | 'task', row: number | string, more: Fields = {}): void {
    const name = `${kind} ${row}`
    if (this.#reported.has(name) || this.#reported.size >= REPORTED_MAX) return
    this.#reported.add(name)
    this.#log.warn('malformed row of a foreign writer passed over', { kind, row, ...more })
  }
}
