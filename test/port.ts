import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below the ports of outgoing connections, which could be taken before the caller listens. */
const RANGE = [10_000, 32_000] as const

/** A port of loopback on which no program listens now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(...RANGE)
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
