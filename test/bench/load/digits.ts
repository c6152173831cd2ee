/** A number of ten digits inside bytes that are sent again and again: counting it up is all a beat costs the load. */
export class Digits {
  readonly #bytes: Buffer
  readonly #at: number
  readonly #mask: (offset: number) => number

  /** `at` is where the digits begin; `mask` is what the byte at an offset is combined with on the wire. */
  constructor(bytes: Buffer, at: number, mask: (offset: number) => number = () => 0) {
    this.#bytes = bytes
    this.#at = at
    this.#mask = mask
  }

  write(value: number): void {
    let rest = value
    for (let index = this.#at + 9; index >= this.#at; index -= 1) {
      this.#bytes[index] = (48 + (rest % 10)) ^ this.#mask(index)
      rest = Math.floor(rest / 10)
    }
  }
}

/** As long as every number that `Digits` writes, and not to be mistaken for anything else. */
export const PLACE = 7_000_000_007
/** What counting begins with: ten digits. */
export const FIRST = 1_000_000_000
