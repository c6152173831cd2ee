import { closeSync, fsync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'

export const syncFile = promisify(fsync)

/**
 * Makes a file's content, or a folder's entries (new, renamed, removed names), durable. Not for an open database: closing the
 * file would drop its locks.
 */
export async function syncPath(path: string): Promise<void> {
  const handle = openSync(path, 'r')
  try {
    await syncFile(handle)
  } finally {
    closeSync(handle)
  }
}

/** Folders that this process has made sure of. */
const ensured = new Set<string>()

/**
 * Makes a folder with all above it that are missing, readable by its owner alone, and their names durable. `make` makes it
 * otherwise; it answers the uppermost folder that was missing.
 */
export async function ensureDurableFolder(folder: string, make = makePrivate): Promise<void> {
  const first = make(folder)
  if (first !== undefined) {
    for (let made = folder; made.length >= first.length; made = dirname(made)) await syncPath(dirname(made))
  }
  if (!ensured.has(folder)) await syncAbove(first ?? folder)
  ensured.add(folder)
}

function makePrivate(folder: string): string | undefined {
  return mkdirSync(folder, { recursive: true, mode: 0o700 })
}

/** What lies above may have been made by a life that was killed before it had synced the names of it. */
async function syncAbove(folder: string): Promise<void> {
  for (const above of [dirname(folder), dirname(dirname(folder))]) {
    await syncPath(above).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EACCES') throw error // who may not read a folder has not made what is in it
    })
  }
}
