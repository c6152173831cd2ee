import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'

/** Characters of base64url in front of a sealed frame: 132 bits of its HMAC-SHA-256. */
export const SEAL_LENGTH = 22

/** Who says a frame: what one side said is no frame of the other. */
export type FrameSide = 'host' | 'bridge'

/**
 * Seals the text frames that one side of a WebSocket says, and opens what the other says. A seal covers who speaks, how many
 * frames that side has said before, and the text: none can be changed, left out, repeated or sent back.
 */
export class FrameSeal {
  readonly #key: KeyObject
  readonly #own: FrameSide
  readonly #other: FrameSide
  #said = 0
  #heard = 0

  constructor(key: Uint8Array, own: FrameSide) {
    this.#key = createSecretKey(key)
    this.#own = own
    this.#other = own === 'host' ? 'bridge' : 'host'
  }

  /** The next frame of this side. */
  seal(text: string): string {
    const seal = this.#sealOf(`${this.#own} ${this.#said}\n${text}`)
    this.#said += 1
    return seal + text
  }

  /**
   * The text of the other side's next frame; null when its seal is not right. One that is not right must end the connection:
   * whoever guesses has one try at a key that is never used again, so there is nothing to learn from how long it takes.
   */
  open(frame: Buffer): Buffer | null {
    const text = frame.subarray(SEAL_LENGTH)
    const given = frame.toString('latin1', 0, SEAL_LENGTH)
    const hmac = createHmac('sha256', this.#key).update(`${this.#other} ${this.#heard}\n`).update(text)
    if (hmac.digest('base64url').slice(0, SEAL_LENGTH) !== given) return null
    this.#heard += 1
    return text
  }

  #sealOf(text: string): string {
    return createHmac('sha256', this.#key).update(text).digest('base64url').slice(0, SEAL_LENGTH)
  }
}
