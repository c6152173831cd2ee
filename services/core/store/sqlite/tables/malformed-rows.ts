import type { Fields, Log } from '#runtime/log.ts'

/** Malformed rows beyond this many are passed over without a log line. */
const REPORTED_MAX = 1000
/** The same for words in messages about tasks that nobody knows. */
const UNKNOWN_TYPES_MAX = 100

/** Logs each row of the shared tables that S2 cannot read, once. Foreign writers leave them there. */
export class MalformedRows {
  readonly #log: Log
  readonly #reported = new Set<string>()
  readonly #unknownTypes = new Set<string>()

  constructor(log: Log) {
    this.#log = log
  }

  report(kind: 'conversation' | 'message' | 'heartbeat' | 'task', row: number | string, more: Fields = {}): void {
    const name = `${kind} ${row}`
    if (this.#reported.has(name) || this.#reported.size >= REPORTED_MAX) return
    this.#reported.add(name)
    this.#log.warn('malformed row of a foreign writer passed over', { kind, row, ...more })
  }

  /** A message names a task and says something that S2 does not know, in the row of this id: told once a word. */
  reportUnknownType(type: string, conversation: string, row: number): void {
    if (this.#unknownTypes.has(type) || this.#unknownTypes.size >= UNKNOWN_TYPES_MAX) return
    this.#unknownTypes.add(type)
    this.#log.warn('task message of an unknown type kept as mail', { type, conversation, row })
  }
}
