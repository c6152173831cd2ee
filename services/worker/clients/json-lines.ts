/** Bytes of a line that are read; a longer one, such as a picture that a tool saw, is passed over. */
const LINE_MAX = 16_000_000

/** Splits a stream into lines and parses each as JSON. What is no JSON goes to `onOther`. */
export class JsonLines {
  readonly #onMessage: (message: unknown) => void
  readonly #onOther: (line: string) => void
  #parts: Buffer[] = []
  #size = 0

  constructor(onMessage: (message: unknown) => void, onOther: (line: string) => void) {
    this.#onMessage = onMessage
    this.#onOther = onOther
  }

  take(chunk: Buffer): void {
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, at))
      this.#line()
      from = at + 1
    }
    this.#keep(chunk.subarray(from))
  }

  #keep(part: Buffer): void {
    this.#size += part.length
    if (this.#size > LINE_MAX) this.#parts = []
    else if (part.length > 0) this.#parts.push(part)
  }

  #line(): void {
    const text = this.#size > LINE_MAX ? '' : Buffer.concat(this.#parts).toString('utf8').trim()
    this.#parts = []
    this.#size = 0
    if (text === '') return
    const message = parsed(text)
    if (message === undefined) this.#onOther(text)
    else this.#onMessage(message)
  }
}

const NEWLINE = 0x0a

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
