import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** Bytes of the largest file that a setting or an argument may name. */
const BYTES_MAX = 1_048_576

/**
 * Reads a text file that a person named, such as a certificate; it may be a link. A pipe or a device is refused, because
 * reading it may never end. Throws an Error with the `code` of open(2), `NOT_A_FILE` or `TOO_LARGE`.
 */
export async function readNamedFile(path: string): Promise<string> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const stat = await file.stat()
  if (stat.isDirectory()) throw refusal('EISDIR', 'is a folder')
  if (!stat.isFile()) throw refusal('NOT_A_FILE', 'is neither a file nor a link to one')
  if (stat.size > BYTES_MAX) throw refusal('TOO_LARGE', `has ${stat.size} bytes; ${BYTES_MAX} are allowed`)
  return await file.readFile('utf8')
}

function refusal(code: string, reason: string): Error {
  return Object.assign(new Error(reason), { code })
}
