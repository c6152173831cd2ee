/** Where a keyword stands in a text. */
export interface KeywordHit {
  readonly at: number
  readonly keyword: string
}

/**
 * Finds keywords in a text in one pass, whatever their case. It keeps the last three characters as one number, five bits of
 * each: letters of both cases have the same five bits, and only where a keyword begins with such three is it compared.
 */
export class KeywordScanner {
  readonly #begins = new Uint8Array(WINDOW + 1)
  readonly #keywords = new Map<number, string[]>()

  /** Keywords are in lower case, and have three characters or more. */
  constructor(keywords: Iterable<string>) {
    for (const keyword of new Set(keywords)) {
      if (keyword.length < 3 || keyword !== keyword.toLowerCase()) throw new RangeError(`not a keyword: ${keyword}`)
      const code = [0, 1, 2].reduce((sum, index) => pushed(sum, keyword.charCodeAt(index)), 0)
      this.#begins[code] = 1
      this.#keywords.set(code, [...(this.#keywords.get(code) ?? []), keyword])
    }
  }

  /** All hits from left to right; hits may overlap. */
  hits(text: string): KeywordHit[] {
    const hits: KeywordHit[] = []
    // bytes are read several times faster than characters; of a wide one only the low byte is, so all is compared again
    const bytes = Buffer.from(text, 'latin1')
    const begins = this.#begins
    const { length } = bytes
    let code = 0
    for (let index = 0; index < length; index += 1) {
      code = ((code << 5) | ((bytes[index] as number) & 31)) & WINDOW // in place: a call for each costs a third more
      if (begins[code] !== 0) this.#compare(text, index - 2, code, hits)
    }
    return hits
  }

  #compare(text: string, at: number, code: number, hits: KeywordHit[]): void {
    for (const keyword of this.#keywords.get(code) ?? []) {
      if (standsAt(text, at, keyword)) hits.push({ at, keyword })
    }
  }
}

const WINDOW = 0x7fff

function pushed(code: number, char: number): number {
  return ((code << 5) | (char & 31)) & WINDOW
}

function standsAt(text: string, at: number, keyword: string): boolean {
  for (let index = 0; index < keyword.length; index += 1) {
    const char = text.charCodeAt(at + index)
    const lower = char >= 65 && char <= 90 ? char | 32 : char
    if (lower !== keyword.charCodeAt(index)) return false
  }
  return true
}
