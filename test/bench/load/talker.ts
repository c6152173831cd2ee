/** One connection of the load: how it opens, what it says, and how it hears that it was heard. */
export interface Talker {
  /** The first bytes to send; none where the server speaks first. */
  hello(): Buffer | null
  /** The bytes of the next beat, in force until it is acknowledged. */
  beat(): Buffer
  /** Bytes came from the server. Throws when it refuses. The bytes are lent, not given. */
  take(chunk: Buffer): void
}

export interface Ears {
  write(bytes: Buffer | string): void
  /** The connection stands: beats may follow. */
  onReady(): void
  onAck(): void
}

/** Keeps what came in pieces until there is enough of it. */
export class Pieces {
  #rest: Buffer = Buffer.alloc(0)

  /** All that is there; what `keep` is not called for is gone. */
  join(chunk: Buffer): Buffer {
    return this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
  }

  keep(rest: Buffer): void {
    this.#rest = rest.length === 0 ? rest.subarray(0, 0) : Buffer.from(rest)
  }
}
