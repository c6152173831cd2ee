import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { localStore } from '#runtime/settings.ts'
import { publish } from './atomic-files.ts'
import { readPlainFileSync } from './plain-file.ts'

const FILE_MAX = 8_192

/**
 * Keeps beside a state folder which store its bridge serves, so that commands and the next `s2 up`, to which nobody names it,
 * find that and begin no other. A state folder may be moved, so the database within it is not written down. Throws what the
 * system says.
 */
export async function noteServedStore(state: string, url: string): Promise<void> {
  if (url === localStore(state)) await rm(noteOf(state), { force: true })
  else if (notedStore(state) !== url) await publish(noteOf(state), `${url}\n`)
}

/** The store that the bridge of a state folder serves, or did so last; the database within the folder where none was noted. */
export function servedStore(state: string): string {
  return notedStore(state) ?? localStore(state)
}

/** A note that cannot be read, or is none, says nothing. */
function notedStore(state: string): string | null {
  try {
    const url = readPlainFileSync(noteOf(state), FILE_MAX)?.trim() ?? ''
    return url.startsWith('sqlite:/') ? url : null
  } catch {
    return null
  }
}

function noteOf(state: string): string {
  return join(state, 'store')
}
