import { ftruncateSync, readSync, writeSync } from 'node:fs'
import type { LogIndex } from './log-index.ts'

const HEADER = 32
const FRAME_HEAD = 24
/** Bytes of the frames that are read in one go. */
const CHUNK = 1024 * 1024
/** The pages of a longer log are not remembered: a commit pays for a checkpoint long before. */
const FRAMES_MAX = 16_384
/** Beginnings of the log that are remembered. */
const FORMER_MAX = 64

/** What was last seen of a log between two of its beginnings. */
interface Generation {
  readonly salt: string
  readonly frames: number
  readonly changes: number
  /** Of the last frame. */
  readonly checksum: readonly [number, number]
}

/**
 * Whether a write-ahead log is what its index says of it, and what was in it: commits only append to it, and it begins anew, by
 * other salts, only after the index said so. So a frame that was committed lies there unchanged, until the index tells of
 * another beginning, and no beginning comes back.
 *
 * The pages that were seen are kept in memory where a program wants to: once others write over the log, they are nowhere else.
 */
export class LogContent {
  readonly #descriptor: number
  #last: Generation | null = null
  readonly #former = new Map<string, Generation>()
  /** The newest content of each page in the log, by its number; null where it is not kept. */
  #pages: Map<number, Uint8Array> | null = null
  #pageSize = 0
  #pageCount = 0
  readonly #keepsPages: boolean
  readonly #head = Buffer.alloc(HEADER)
  readonly #heads = new Uint32Array(this.#head.buffer, this.#head.byteOffset, HEADER / 4)
  #chunk: Buffer = Buffer.alloc(0)
  #chunkWords = new Uint32Array()

  /** `descriptor` is of the log; it is read only. */
  constructor(descriptor: number, { keepsPages }: { readonly keepsPages: boolean }) {
    this.#descriptor = descriptor
    this.#keepsPages = keepsPages
  }

  /** Frames that were seen last. */
  get frames(): number {
    return this.#last?.frames ?? 0
  }

  /** False where the log was not what its index said at the first look already. */
  get hasSeen(): boolean {
    return this.#last !== null
  }

  /** True where an index tells of less than it told before: an earlier one was put in its place. */
  isSetBack(index: LogIndex): boolean {
    const before = index.salt === this.#last?.salt ? this.#last : this.#former.get(index.salt)
    if (before === undefined) return false
    // an index that SQLite made anew from the log counts its changes from zero, and has all frames that are there
    if (before !== this.#last) return index.frames < before.frames || index.changes >= before.changes
    return index.frames < before.frames
  }

  /**
   * True where the log has what the index says, and what was seen of it before: that is remembered from then on. False may also
   * mean that the log began anew since the index was read.
   */
  takeIn(index: LogIndex): boolean {
    const last = index.salt === this.#last?.salt ? this.#last : null
    if (index.frames > 0) {
      if (!this.#isHeadOf(index)) return false
      if (!this.#hasFrame(index.frames, index.checksum, index)) return false
      const isNewer = last !== null && last.frames > 0 && last.frames < index.frames
      if (isNewer && !this.#hasFrame(last.frames, last.checksum, index)) return false
    }
    if (last === null) this.#begin(index)
    if (!this.#takePages(last?.frames ?? 0, index)) return false
    const { salt, frames, changes, checksum } = index
    this.#last = { salt, frames, changes, checksum }
    return true
  }

  /** All that was seen since the log began is kept. */
  get hasPages(): boolean {
    return this.#pages !== null && this.#last !== null
  }

  /** Writes the pages that were seen over those of a copy of the database. */
  writeOver(descriptor: number): void {
    if (this.#pages === null || this.#pages.size === 0) return
    for (const [page, content] of this.#pages)
      writeSync(descriptor, content, 0, content.length, (page - 1) * this.#pageSize)
    ftruncateSync(descriptor, this.#pageCount * this.#pageSize)
  }

  #begin(index: LogIndex): void {
    if (this.#last !== null && !isOfNothing(this.#last)) {
      this.#former.delete(this.#last.salt)
      this.#former.set(this.#last.salt, this.#last)
      for (const [oldest] of this.#former) if (this.#former.size > FORMER_MAX) this.#former.delete(oldest)
    }
    this.#last = null
    this.#pages = this.#keepsPages && index.frames <= FRAMES_MAX ? new Map() : null
  }

  #isHeadOf({ salts, pageSize }: LogIndex): boolean {
    if (readSync(this.#descriptor, this.#head, 0, HEADER, 0) < HEADER) return false
    return this.#heads[4] === salts[0] && this.#heads[5] === salts[1] && this.#head.readUInt32BE(8) === pageSize
  }

  #hasFrame(frame: number, checksum: readonly [number, number], { salts, pageSize }: LogIndex): boolean {
    const at = placeOf(frame, pageSize)
    if (readSync(this.#descriptor, this.#head, 0, FRAME_HEAD, at) < FRAME_HEAD) return false
    return (
      this.#heads[2] === salts[0] &&
      this.#heads[3] === salts[1] &&
      this.#head.readUInt32BE(16) === checksum[0] &&
      this.#head.readUInt32BE(20) === checksum[1]
    )
  }

  /** Remembers the pages of the frames after `from`. Answers false where they are not of this log any more. */
  #takePages(from: number, index: LogIndex): boolean {
    if (index.frames > FRAMES_MAX) this.#pages = null
    const pages = this.#pages
    if (pages === null || index.frames === from) return true
    const frameSize = FRAME_HEAD + index.pageSize
    const most = Math.max(1, Math.floor(CHUNK / frameSize))
    for (let next = from + 1; next <= index.frames; next += most) {
      const count = Math.min(most, index.frames - next + 1)
      if (!this.#takeChunk(pages, next, count, index)) return false
    }
    this.#pageSize = index.pageSize
    this.#pageCount = index.pages
    return true
  }

  #takeChunk(pages: Map<number, Uint8Array>, first: number, count: number, { salts, pageSize }: LogIndex): boolean {
    const frameSize = FRAME_HEAD + pageSize
    const length = count * frameSize
    const chunk = this.#chunkOf(length)
    if (readSync(this.#descriptor, chunk, 0, length, placeOf(first, pageSize)) < length) return false
    for (let at = 0; at < length; at += frameSize) {
      const word = at / 4
      if (this.#chunkWords[word + 2] !== salts[0] || this.#chunkWords[word + 3] !== salts[1]) return false
    }
    for (let at = 0; at < length; at += frameSize) {
      const page = chunk.readUInt32BE(at)
      let content = pages.get(page)
      if (content === undefined) {
        content = Buffer.allocUnsafeSlow(pageSize)
        pages.set(page, content)
      }
      chunk.copy(content, 0, at + FRAME_HEAD, at + frameSize)
    }
    return true
  }

  #chunkOf(length: number): Buffer {
    if (this.#chunk.length < length) {
      this.#chunkWords = new Uint32Array(length / 4)
      this.#chunk = Buffer.from(this.#chunkWords.buffer)
    }
    return this.#chunk
  }
}

/** The index of a log with nothing in it, which SQLite makes whenever it finds one. */
function isOfNothing({ salt, frames }: Generation): boolean {
  return frames === 0 && salt === '0.0'
}

function placeOf(frame: number, pageSize: number): number {
  return HEADER + (frame - 1) * (FRAME_HEAD + pageSize)
}
