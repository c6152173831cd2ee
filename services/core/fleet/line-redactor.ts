import { redact } from './redact.ts'

const KEY_BEGINS = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?!.*-----END )/
const KEY_ENDS = /^.*-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/
/** A line within a key: base64, a header of an encrypted one, or nothing. */
const KEY_LINE = /^[\s"'+|>]*(?:[A-Za-z0-9+/=]*|[A-Za-z][A-Za-z-]{1,30}: .{0,200})[\s"',+\\]*$/

/** Redacts a stream line by line. It remembers that a key has begun, whose other lines alone look like nothing. */
export class LineRedactor {
  #isInKey = false

  /** The line without secrets; the lines of a key are one mark each. */
  next(line: string): string {
    if (!this.#isInKey) return this.#outside(line)
    const end = KEY_ENDS.exec(line)
    if (end !== null) {
      this.#isInKey = false
      return MARK + this.#outside(line.slice(end[0].length))
    }
    if (KEY_LINE.test(line)) return MARK
    this.#isInKey = false
    return this.#outside(line)
  }

  /** The same for a line that may go on: it is not remembered. */
  peek(line: string): string {
    const wasInKey = this.#isInKey
    const clean = this.next(line)
    this.#isInKey = wasInKey
    return clean
  }

  #outside(line: string): string {
    this.#isInKey = KEY_BEGINS.test(line)
    return redact(line)
  }
}

const MARK = '[redacted private-key]'
