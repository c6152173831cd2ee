import { textHead } from '#fleet/cut-text.ts'
import { PROGRESS_MAX } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'

/**
 * The last line of output: the first is reported at once, later ones at most every `everyMs`. What the agent says itself takes their
 * place for good.
 */
export class ProgressLine {
  readonly #everyMs: number
  readonly #clock: Clock
  #line: string | null = null
  #said: string | null = null
  #reportedAt = Number.NEGATIVE_INFINITY

  constructor(everyMs: number, clock: Clock) {
    this.#everyMs = everyMs
    this.#clock = clock
  }

  /** Notes a line. Answers whether it is time to report. */
  note(line: string): boolean {
    if (line.trim() === '') return false
    const isFirst = this.#line === null
    this.#line = textHead(line.trim(), PROGRESS_MAX)
    return isFirst || this.#clock.now() - this.#reportedAt >= this.#everyMs
  }

  say(line: string): void {
    this.#said = line
  }

  /** The line to report: one that has no end yet, where there is one, is the last. */
  take(openLine = ''): string | null {
    this.#reportedAt = this.#clock.now()
    if (this.#said !== null) return this.#said
    return openLine.trim() === '' ? this.#line : textHead(openLine.trim(), PROGRESS_MAX)
  }
}
