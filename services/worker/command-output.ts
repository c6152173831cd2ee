import { textHead, textTail } from '#fleet/cut-text.ts'
import { LineRedactor } from '#fleet/line-redactor.ts'
import { redact } from '#fleet/redact.ts'
import { TAIL_MAX } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { OutputStream } from '#runtime/run-command.ts'

/** Characters of a line that are shown; longer ones are cut. */
const LINE_MAX = 4_000
/** Characters of a line whose end has not come; longer ones are shown in parts. */
const OPEN_MAX = 64_000
/** How long a line without its end must have stood still before it is told: what has just come may be half a secret. */
const STILL_MS = 1_000

/** The output of a command: the lines of its two streams, each whole and without secrets, and its last characters. */
export class CommandOutput {
  readonly #onLine: (line: string) => void
  readonly #clock: Clock
  readonly #streams: Readonly<Record<OutputStream, Lines>>
  #last: OutputStream = 'stdout'
  #lastAt = Number.NEGATIVE_INFINITY
  #tail = ''

  constructor(onLine: (line: string) => void, clock: Clock) {
    const show = (line: string, end: string): void => this.#show(line, end)
    this.#onLine = onLine
    this.#clock = clock
    this.#streams = { stdout: new Lines(show), stderr: new Lines(show) }
  }

  take(chunk: Buffer, stream: OutputStream): void {
    this.#last = stream
    this.#lastAt = this.#clock.now()
    this.#streams[stream].take(chunk)
  }

  /** What it has printed of a line that has no end yet, as a question has none; empty where nothing stands still there. */
  openLine(): string {
    if (this.#clock.now() - this.#lastAt < STILL_MS) return ''
    return textHead(this.#streams[this.#last].open(), LINE_MAX)
  }

  /** No more comes: what stands on a line without end is a line too. Answers the last characters of all. */
  end(): string {
    const last = this.#streams[this.#last]
    for (const each of Object.values(this.#streams)) if (each !== last) each.end('\n')
    last.end('')
    return textTail(redact(this.#tail), TAIL_MAX)
  }

  #show(line: string, end: string): void {
    this.#tail = textTail(this.#tail + line + end, TAIL_MAX)
    this.#onLine(textHead(line, LINE_MAX))
  }
}

/**
 * Splits one stream into lines without secrets. A secret is looked for before anything is cut: half of one would not be
 * known.
 */
class Lines {
  readonly #onLine: (line: string, end: string) => void
  readonly #decoder = new TextDecoder()
  readonly #redactor = new LineRedactor()
  #open = ''
  #isMidWord = false

  constructor(onLine: (line: string, end: string) => void) {
    this.#onLine = onLine
  }

  take(chunk: Buffer): void {
    this.#takeText(this.#decoder.decode(chunk, { stream: true }))
  }

  /** What came after the last end of a line. */
  open(): string {
    return this.#redactor.peek(this.#open.replace(/\r$/, ''))
  }

  /** Shows what has no end with the given one. */
  end(end: string): void {
    this.#takeText(this.#decoder.decode())
    if (this.#open !== '') this.#show(this.#open.replace(/\r$/, ''), end)
    this.#open = ''
  }

  #takeText(text: string): void {
    const lines = (this.#open + this.#afterWord(text)).split(LINE_END)
    this.#open = lines.pop() ?? ''
    for (const line of lines) this.#show(line, '\n')
    if (this.#open.length > OPEN_MAX) this.#showPart()
  }

  #show(line: string, end: string): void {
    this.#onLine(this.#redactor.next(line), end)
  }

  /** Shows the words of a line without end; of a word without end only that there is one. */
  #showPart(): void {
    const cut = /\s\S{0,4000}$/.exec(this.#open.slice(-LINE_MAX))?.index
    this.#isMidWord = cut === undefined
    const from = this.#open.length - Math.min(LINE_MAX, this.#open.length) + (cut ?? 0)
    this.#show(cut === undefined ? '…' : this.#open.slice(0, from), '\n')
    this.#open = cut === undefined ? '' : this.#open.slice(from)
  }

  /** What comes after a word whose beginning was left out. */
  #afterWord(text: string): string {
    if (!this.#isMidWord) return text
    const space = text.search(/\s/)
    if (space < 0) return ''
    this.#isMidWord = false
    return text.slice(space)
  }
}

/** A return at the end may be half of a line end. */
const LINE_END = /\r\n|\n|\r(?!$)/
