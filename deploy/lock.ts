import { statSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** How long somebody else may hold it. */
const PATIENCE_MS = 600_000

/**
 * Lets one process at a time into a folder, until disposed. The lock is a name in the kernel's own list of sockets (unix(7),
 * abstract): it ends with whoever holds it, however he ends, and those who wait hear of it by their connection to him.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  const { dev, ino } = statSync(folder)
  const path = `\0s2-lock-${dev}-${ino}`
  const deadline = AbortSignal.timeout(PATIENCE_MS)
  const waiting = new Set<Socket>()
  for (;;) {
    const server = await listen(path, waiting)
    if (server !== null) return { [Symbol.asyncDispose]: () => close(server, waiting) }
    if (deadline.aborted)
      throw new Error(`another process has been at work in ${folder} for ${PATIENCE_MS / 60_000} min`)
    await untilLeft(path, deadline)
  }
}

/** Null while somebody has the name. */
function listen(path: string, waiting: Set<Socket>): Promise<Server | null> {
  const { promise, resolve, reject } = Promise.withResolvers<Server | null>()
  const server = createServer((one) => {
    waiting.add(one)
    one.on('error', () => undefined).on('close', () => waiting.delete(one))
  })
  server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(null) : reject(error)))
  server.listen({ path }, () => resolve(server))
  return promise
}

/** Lets go of the name first, then of those who wait for it. */
function close(server: Server, waiting: ReadonlySet<Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    for (const one of waiting) one.destroy()
  })
}

/** Waits until whoever has the name has let go of it. */
function untilLeft(path: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const waiting = connect({ path, signal })
  waiting.on('error', () => undefined).on('close', () => resolve())
  return promise
}
