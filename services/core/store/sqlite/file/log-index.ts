import { readSync } from 'node:fs'

/** What the shared index of a write-ahead log (`-shm`) says of it at one instant. */
export interface LogIndex {
  /** The two salts, which are others each time the log begins anew. */
  readonly salt: string
  /** The same as it lies in the log's header and in the head of each frame. */
  readonly salts: readonly [number, number]
  /** Rises with each commit; begins at zero when SQLite makes the index anew from the log. */
  readonly changes: number
  /** Frames that are committed; with none the header in the log may be the one of the time before. */
  readonly frames: number
  /** Of the last of these frames. */
  readonly checksum: readonly [number, number]
  readonly pageSize: number
  /** Pages of the database at the last commit. */
  readonly pages: number
  /** How far checkpoints have come. */
  readonly checkpoint: string
  /** A checkpoint writes into the main file now, or one ended in the middle of it. */
  readonly isCheckpointUnderWay: boolean
}

/**
 * The head of the index in words of 32 bits, in the byte order of the machine (sqlite.org/walformat.html): twice the header, then
 * frames that are in the main file, and frames that a checkpoint has begun to bring there.
 */
const WORDS = 34
const COPY = 12
const AT = { changes: 2, kind: 3, frames: 4, pages: 5, checksum: 6, salt: 8, backfill: 24, attempted: 32 } as const

const words = new Uint32Array(WORDS)
const bytes = new Uint8Array(words.buffer)
const halves = new Uint16Array(words.buffer)

/** Null where the index is too short, is being written at this instant, or has to be made anew by SQLite. */
export function readLogIndex(descriptor: number): LogIndex | null {
  if (readSync(descriptor, bytes, 0, bytes.length, 0) < bytes.length) return null
  for (let at = 0; at < COPY; at += 1) if (words[at] !== words[at + COPY]) return null
  const isMade = bytes[AT.kind * 4] !== 0
  if (!isMade) return null
  const size = halves[AT.kind * 2 + 1] ?? 0
  const salts = [word(AT.salt), word(AT.salt + 1)] as const
  const [backfill, attempted] = [word(AT.backfill), word(AT.attempted)]
  const salt = `${salts[0]}.${salts[1]}`
  return {
    salt,
    salts,
    changes: word(AT.changes),
    frames: word(AT.frames),
    checksum: [word(AT.checksum), word(AT.checksum + 1)],
    pageSize: (size & 0xfe00) + ((size & 1) << 16),
    pages: word(AT.pages),
    checkpoint: `${salt}.${backfill}.${attempted}`,
    isCheckpointUnderWay: attempted > backfill,
  }
}

function word(at: number): number {
  return words[at] ?? 0
}

/** Whether no commit and no new beginning of the log lies between two readings. */
export function isSameLog(one: LogIndex, other: LogIndex): boolean {
  return (
    one.salt === other.salt &&
    one.frames === other.frames &&
    one.changes === other.changes &&
    one.checksum[0] === other.checksum[0] &&
    one.checksum[1] === other.checksum[1]
  )
}
