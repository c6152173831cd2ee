import type { Fields, Log } from '#runtime/log.ts'

/** Malformed rows beyond this many are passed over without a log line. */
const REPORTED_MAX = 1000
/** The same for words in messages about tasks that nobody knows. */
const UNKNOWN_TYPES_MAX = 100
const PASSED_OVER = 'malformed row of a foreign writer passed over'

/** Logs each row of the shared tables that S2 cannot read, once. Foreign writers leave them there. */
export class MalformedRows {
  readonly #log: Log
  /** What was found, where it is told in one line at the end. */
  readonly #held: Fields[] | null
  readonly #reported = new Set<string>()
  readonly #unknownTypes = new Set<string>()

  /** @param tell `each` row as it is found; or, for a program that asks once and ends, their `sum` */
  constructor(log: Log, tell: 'each' | 'sum' = 'each') {
    this.#log = log
    this.#held = tell === 'each' ? null : []
  }

  report(kind: 'conversation' | 'message' | 'heartbeat' | 'task', row: number | string, more: Fields = {}): void {
    const name = `${kind} ${row}`
    if (this.#reported.has(name) || this.#reported.size >= REPORTED_MAX) return
    this.#reported.add(name)
    const found = { kind, row, ...more }
    if (this.#held === null) this.#log.warn(PASSED_OVER, found)
    else this.#held.push(found)
  }

  /** Tells in one line what was found and not told yet. */
  sumUp(): void {
    const [first, ...others] = this.#held?.splice(0) ?? []
    if (first === undefined) return
    if (others.length === 0) {
      this.#log.warn(PASSED_OVER, first)
      return
    }
    const count = `${others.length + 1}${others.length + 1 < REPORTED_MAX ? '' : ' or more'}`
    this.#log.warn(`${count} malformed rows of foreign writers passed over`, {
      such_as: `${first.kind} ${first.row}`,
      next: 'the log of the bridge names each',
    })
  }

  /** A message names a task and says something that S2 does not know, in the row of this id: told once a word. */
  reportUnknownType(type: string, conversation: string, row: number): void {
    if (this.#unknownTypes.has(type) || this.#unknownTypes.size >= UNKNOWN_TYPES_MAX) return
    this.#unknownTypes.add(type)
    this.#log.warn('task message of an unknown type kept as mail', { type, conversation, row })
  }
}
