import { lstatSync } from 'node:fs'
import { ensureFolder } from './atomic-files.ts'
import { invalid } from './plain-file.ts'
import { quarantine } from './quarantine.ts'

/**
 * Whether something that is neither a folder nor a file lies in a folder's place. An agent owns its spool, and a link there
 * would lead our writes, renames and removals into folders of others. A plain file is left for the disk's own error.
 */
export function isDisplaced(folder: string): boolean {
  try {
    const stat = lstatSync(folder, { throwIfNoEntry: false })
    return stat !== undefined && !stat.isDirectory() && !stat.isFile()
  } catch {
    return false // whatever is used there next says what is wrong
  }
}

/** Throws `invalid` where a link or the like lies in the folder's place: nothing there is followed. */
export function demandOwnFolder(folder: string): void {
  if (isDisplaced(folder)) throw invalid(NO_FOLDER)
}

/** Makes a folder of a spool, and puts away what somebody planted in its place; answers the sentence to tell, or null. */
export async function ensureOwnFolder(spool: string, folder: string): Promise<string | null> {
  const fault = isDisplaced(folder) ? await quarantine(spool, folder, NO_FOLDER) : null
  await ensureFolder(folder)
  demandOwnFolder(folder)
  return fault
}

const NO_FOLDER = 'is no folder but a link or a device, which is not followed'
