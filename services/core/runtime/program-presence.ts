import { accessSync, constants, existsSync } from 'node:fs'
import { createConnection } from 'node:net'
import { dirname } from 'node:path'
import { healthSocket } from './health-client.ts'
import { socketPath } from './long-socket-path.ts'

/**
 * Whether keepalive serves a state folder, as far as this user can know: an agent with a user of its own may not look into the
 * folder of the sockets, and trusts that what it puts into the outbox is carried.
 */
export async function isKeepaliveThere(state: string): Promise<boolean> {
  const socket = healthSocket(state, 'keepalive')
  return !mayLookInto(dirname(socket)) || (await isSocketAnswered(socket))
}

/** Whether this user may look into a folder, as far as there is one. */
export function mayLookInto(folder: string): boolean {
  try {
    accessSync(folder, constants.X_OK)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EACCES'
  }
}

/** Whether a program listens on a unix socket. */
export async function isSocketAnswered(path: string): Promise<boolean> {
  if (!existsSync(path)) return false
  using short = socketPath(path)
  return await new Promise((resolve) => {
    const socket = createConnection(short.path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
