import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureFolder, publish } from './atomic-files.ts'
import { credentialsFolder } from './credentials.ts'
import { readPlainFile } from './plain-file.ts'

/** Made by the kernel at every start of a machine (random(4)). */
const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const PLACE = /^[A-Za-z0-9_-]{1,64}$/
const FILE_MAX = 100

/**
 * Finds out which place a state folder is, and publishes it beside the credentials. It is the outbox, by its device and inode, on
 * the machine that runs now: a copy of the folder has another inode, a copy of the machine another start, and a container that
 * is started or made again with its volumes is the place that it was. Names and paths say nothing, as copies have the same, and the
 * containers of one host have others. Whoever works beside keepalive reads it and does not look for itself: in a sandbox an agent
 * may see the same files under other numbers. Throws what the system says.
 */
export async function publishPlace(state: string, bootIdFile = BOOT_ID): Promise<string> {
  const outbox = join(state, 'outbox')
  await ensureFolder(outbox)
  const { dev, ino } = await stat(outbox, { bigint: true })
  const start = (await readFile(bootIdFile, 'utf8')).trim()
  const place = createHash('sha256').update(`${start} ${dev} ${ino}`).digest('base64url').slice(0, 22)
  await publish(placeFile(state), `${place}\n`)
  return place
}

/** The place that keepalive has published here; undefined where none has, as older ones do not. */
export async function readPlace(state: string): Promise<string | undefined> {
  const file = await readPlainFile(placeFile(state), FILE_MAX).catch(() => null)
  const place = file?.text.trim() ?? ''
  return PLACE.test(place) ? place : undefined
}

function placeFile(state: string): string {
  return join(credentialsFolder(state), 'place')
}
