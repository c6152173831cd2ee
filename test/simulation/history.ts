import { createHash } from 'node:crypto'
import type { Timeline } from './clock.ts'

/** What was done in a world, by kind. Too little of any and the world proved nothing. */
export const OPERATIONS = [
  'message sent',
  'message received',
  'task added',
  'task leased',
  'task completed',
  'task moved',
  'agent convicted',
  'agent gone',
  'agent restarted',
  'late result refused',
  'beat heard',
  'alert told',
  'conversation revived',
  'host let in again',
] as const
export type Operation = (typeof OPERATIONS)[number]

/** All that happened in one world, in order, as a hash; and what should not have happened. */
export class History {
  readonly violations: string[] = []
  readonly lines: string[] = []
  readonly #timeline: Timeline
  readonly #hash = createHash('sha256')
  /** Lines that are still to be hashed: many together cost less. */
  #unhashed = ''
  readonly #isKept: boolean
  readonly #counts = new Map<Operation, number>()

  constructor(timeline: Timeline, isKept: boolean) {
    this.#timeline = timeline
    this.#isKept = isKept
  }

  note(what: string): void {
    const line = `${(this.#timeline.now / 1000).toFixed(3)} ${what}`
    this.#unhashed += `${line}\n`
    if (this.#unhashed.length > HASHED_AT_ONCE) this.#hashAll()
    if (this.#isKept) this.lines.push(line)
  }

  did(operation: Operation, what: string): void {
    this.#counts.set(operation, this.count(operation) + 1)
    this.note(`${operation}: ${what}`)
  }

  count(operation: Operation): number {
    return this.#counts.get(operation) ?? 0
  }

  get counts(): Readonly<Partial<Record<Operation, number>>> {
    return Object.fromEntries(this.#counts)
  }

  /** A promise was broken. */
  violate(promise: string, what: string): void {
    const line = `${promise}: ${what}`
    this.note(`VIOLATION ${line}`)
    this.violations.push(`at ${(this.#timeline.now / 1000).toFixed(3)} s, ${line}`)
  }

  digest(): string {
    this.#hashAll()
    return this.#hash.copy().digest('hex')
  }

  #hashAll(): void {
    this.#hash.update(this.#unhashed)
    this.#unhashed = ''
  }
}

const HASHED_AT_ONCE = 16_384
