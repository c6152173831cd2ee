import { join } from 'node:path'
import { publish } from './atomic-files.ts'
import { diskError } from './plain-file.ts'

/** Where one program of this host leaves word for another that there may be something to do. */
export function hintsFolder(state: string): string {
  return join(state, 'hints')
}

/** Leaves word that there may be a new credential for this host: whoever watches the folder hears it, however often it is left. */
export async function hintCredentials(state: string): Promise<void> {
  try {
    await publish(join(hintsFolder(state), 'credentials'), '')
  } catch (error) {
    throw diskError('leaving a hint', error)
  }
}
