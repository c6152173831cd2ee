import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { publish } from '#spool/atomic-files.ts'
import { parseObject, readPlainFile } from '#spool/plain-file.ts'
import { codeOf } from '#spool/quarantine.ts'
import { agentsFolder } from './hook-reports.ts'

/** Where keepalive answers hooks over HTTP on this host, and the secret that whoever calls there has to know. */
export interface HookDoor {
  /** On the loopback address. */
  readonly port: number
  readonly secret: string
}

const FILE_MAX = 4_096

/** The door that a person asked for; null where nobody did, and keepalive listens nowhere. */
export async function readHookDoor(state: string): Promise<HookDoor | null> {
  const file = await readPlainFile(doorFile(state), FILE_MAX, 'own')
  if (file === null) return null
  const { port, secret } = parseObject(file.text)
  const isPort = Number.isSafeInteger(port) && (port as number) > 0 && (port as number) < 65_536
  return isPort && typeof secret === 'string' && /^[0-9a-f]{64}$/.test(secret) ? { port: port as number, secret } : null
}

/** Asks for the door. The file is its owner's alone. Throws what the disk says. */
export async function publishHookDoor(state: string, door: HookDoor): Promise<void> {
  await publish(doorFile(state), `${JSON.stringify(door)}\n`)
}

/** Asks for it no more. */
export async function removeHookDoor(state: string): Promise<void> {
  await unlink(doorFile(state)).catch((error: unknown) => {
    if (!/^(ENOENT|ENOTDIR)$/.test(codeOf(error))) throw error
  })
}

function doorFile(state: string): string {
  return join(agentsFolder(state), 'door.json')
}

/** Whether hooks of a client are sent to a door of this host by that address, of whatever port. */
export function isDoorUrl(url: string, client: string): boolean {
  const [, port] = /^http:\/\/127\.0\.0\.1:(\d{1,5})\//.exec(url) ?? []
  return port !== undefined && url === doorUrl({ port: Number(port) }, client)
}

/** The address that hooks of a client are sent to. */
export function doorUrl({ port }: Pick<HookDoor, 'port'>, client: string): string {
  return `http://127.0.0.1:${port}/hook/${client}`
}
