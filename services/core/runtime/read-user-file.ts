import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** Bytes of the largest file that a setting or an argument may name. */
const BYTES_MAX = 1_048_576

/**
 * Reads a text file that a person named, such as a certificate; it may be a link. A pipe or a device is refused, because
 * reading it may never end. A byte order mark is left out. Throws an Error with the `code` of open(2), `NOT_A_FILE`, `TOO_LARGE`
 * or `UTF-16`.
 */
export async function readNamedFile(path: string): Promise<string> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const stat = await file.stat()
  if (stat.isDirectory()) throw refusal('EISDIR', 'is a folder')
  if (!stat.isFile()) throw refusal('NOT_A_FILE', 'is neither a file nor a link to one')
  if (stat.size > BYTES_MAX) throw refusal('TOO_LARGE', `has ${stat.size} bytes; ${BYTES_MAX} are allowed`)
  const bytes = await file.readFile()
  demandNoUtf16(bytes)
  return new TextDecoder().decode(bytes) // notes beside a certificate may be in any encoding
}

/**
 * The text of a file that a person wrote, without a byte order mark. Other encodings are refused: their letters would be
 * replaced without a word. Throws an Error whose message completes "the file …".
 */
export function decodeText(bytes: Uint8Array): string {
  demandNoUtf16(bytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw refusal('NOT_UTF-8', `is not UTF-8 (line ${badLineOf(bytes)}): save it as UTF-8`)
  }
}

export function hasByteOrderMark(bytes: Uint8Array): boolean {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
}

/** UTF-16 begins with its byte order mark, or else with a letter of which one byte is zero. */
function demandNoUtf16([first, second]: Uint8Array): void {
  const hasMark = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)
  if (hasMark || first === 0 || second === 0) throw refusal('UTF-16', 'is UTF-16: save it as UTF-8')
}

/** The number of the first line that is no UTF-8: no byte of a letter is a line feed there. */
function badLineOf(bytes: Uint8Array): number {
  const lines = Buffer.from(bytes).toString('latin1').split('\n')
  return 1 + lines.findIndex((line) => !isUtf8(Buffer.from(line, 'latin1')))
}

function refusal(code: string, reason: string): Error {
  return Object.assign(new Error(reason), { code })
}
