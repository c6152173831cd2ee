import { constants, lstatSync, renameSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncPath } from '#runtime/durable-folder.ts'
import { invalid } from './plain-file.ts'

const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants

/**
 * Appends a line durably to a file for its owner alone. A file of `bytesMax` bytes makes room first: it is kept as `formerOf`,
 * and the one before it is not. No link is followed, and no pipe waited for. Throws what the system says, or `invalid` where
 * something else than a file lies there.
 */
export async function appendLine(path: string, line: string, bytesMax: number): Promise<void> {
  await append(path, `${line}\n`, bytesMax, true)
}

/** The same for text that nobody misses after a loss of power. */
export async function appendText(path: string, text: string, bytesMax: number): Promise<void> {
  await append(path, text, bytesMax, false)
}

async function append(path: string, text: string, bytesMax: number, isDurable: boolean): Promise<void> {
  makeRoom(path, bytesMax)
  await using file = await open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600)
  const found = await file.stat()
  if (!found.isFile()) throw invalid('is no file')
  await file.appendFile(text)
  if (!isDurable) return
  await file.sync()
  if (found.size === 0) await syncPath(dirname(path))
}

/** Where the lines lie that made room. */
export function formerOf(path: string): string {
  return `${path}.1`
}

/** In one turn of the event loop: between the look and the rename nothing of this process writes. */
function makeRoom(path: string, bytesMax: number): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found?.isFile() !== true || found.size < bytesMax) return
  try {
    renameSync(path, formerOf(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // another process has made room
  }
}
