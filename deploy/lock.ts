import { statSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** How long another process may hold the lock. */
const PATIENCE_MS = 600_000

/**
 * Locks a folder for one process until disposed; waits up to 10 min for it. The lock is an abstract unix socket, unix(7), so it
 * ends with its process however that ends, and those who wait see their connection close.
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

/** Null while another process has the name. */
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

/** Releases the name first, then the connections that wait for it. */
function close(server: Server, waiting: ReadonlySet<Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    for (const one of waiting) one.destroy()
  })
}

/** Waits until the holder releases the name, or the signal aborts. */
function untilLeft(path: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const waiting = connect({ path, signal })
  waiting.on('error', () => undefined).on('close', () => resolve())
  return promise
}
