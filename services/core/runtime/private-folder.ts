import { chmodSync, lstatSync, mkdirSync, type Stats, statSync } from 'node:fs'
import { ConfigError } from './read-settings.ts'

/**
 * Makes a state folder that is missing, for its owner alone whatever the umask, and takes from others what they may do in one
 * that is there. Answers the sentence to tell, or null where nothing had to be mended. Throws ConfigError where others may use
 * it and it is not ours to change. What the disk says otherwise is left to whoever uses the folder.
 */
export function keepFolderPrivate(folder: string): string | null {
  const stat = makeFolder(folder)
  if (stat === null) return null
  const mode = stat.mode & 0o7777
  if ((mode & (BEYOND_OURS | SET_GROUP_ID)) === 0) return null
  const isOpen = (mode & BEYOND_OURS) !== 0
  const shown = `${folder} was open to others (mode ${mode.toString(8)})`
  try {
    chmodSync(folder, mode & ~BEYOND_OURS & ~SET_GROUP_ID)
  } catch {
    if (!isOpen) return null
    throw new ConfigError([
      `${shown} and belongs to user ${stat.uid}, so it cannot be closed: chown it to the user of S2 and chmod 700 it, or set S2_STATE to another folder`,
    ])
  }
  return isOpen ? `${shown}, and is closed to them now` : null
}

/** All that others may do, and that the group may write: the group of an agent may pass through, no more. */
const BEYOND_OURS = 0o027
/** Folders that are made in one with this bit belong to its group: only inbox, outbox and credentials may be shared so. */
const SET_GROUP_ID = 0o2000

function makeFolder(folder: string): Stats | null {
  try {
    if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
    }
    const stat = statSync(folder)
    return stat.isDirectory() ? stat : null
  } catch {
    return null
  }
}
