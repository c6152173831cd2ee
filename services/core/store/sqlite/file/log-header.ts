import { readSync } from 'node:fs'

const LENGTH = 32
/** The last bit says in which byte order the checksums are made. */
const MAGIC = 0x377f0682

/**
 * Whether SQLite, when it is the first to open a database, will take what is in its log: of a log that does not begin as one it
 * takes nothing, and writes over it (sqlite.org/walformat.html).
 */
export function isLogReadable(descriptor: number): boolean {
  const header = Buffer.alloc(LENGTH)
  if (readSync(descriptor, header, 0, LENGTH, 0) < LENGTH) return false
  const magic = header.readUInt32BE(0)
  const pageSize = header.readUInt32BE(8)
  const isPageSize = pageSize >= 512 && pageSize <= 65_536 && (pageSize & (pageSize - 1)) === 0
  if ((magic & ~1) >>> 0 !== MAGIC || !isPageSize) return false
  const word = (at: number): number => ((magic & 1) === 1 ? header.readUInt32BE(at) : header.readUInt32LE(at))
  let [one, two] = [0, 0]
  for (let at = 0; at < 24; at += 8) {
    one = (one + word(at) + two) >>> 0
    two = (two + word(at + 4) + one) >>> 0
  }
  return one === header.readUInt32BE(24) && two === header.readUInt32BE(28)
}
