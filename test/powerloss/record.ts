/** Reads what `record.c` wrote: the calls by which the programs of a scenario changed files, in order. */

export interface CallRecord {
  /** As in `record.c`. */
  readonly kind: string
  readonly process: number
  readonly inode: number
  /** Offset, size, flags, descriptor, or mode and owner, by kind. */
  readonly number: number
  readonly path: string
  /** The second path of a rename or a link; the name of a call that cannot be told. */
  readonly other: string
  readonly data: Buffer
}

export function readRecords(log: Buffer): CallRecord[] {
  const records: CallRecord[] = []
  for (let at = 0; at + 4 <= log.length; ) {
    const length = log.readUInt32LE(at)
    records.push(recordOf(log.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return records
}

const HEAD = 21

function recordOf(bytes: Buffer): CallRecord {
  const pathEnd = HEAD + 2 + bytes.readUInt16LE(HEAD)
  const otherEnd = pathEnd + 2 + bytes.readUInt16LE(pathEnd)
  return {
    kind: String.fromCharCode(bytes.readUInt8(0)),
    process: bytes.readUInt32LE(1),
    inode: Number(bytes.readBigUInt64LE(5)),
    number: Number(bytes.readBigUInt64LE(13)),
    path: bytes.toString('utf8', HEAD + 2, pathEnd),
    other: bytes.toString('utf8', pathEnd + 2, otherEnd),
    data: bytes.subarray(otherEnd),
  }
}
