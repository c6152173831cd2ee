import { closeSync, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'

/** Longest path of a unix socket on Linux, unix(7): 108 bytes with the final zero. */
const SOCKET_PATH_MAX = 107

/** A path that bind(2) and connect(2) accept until it is disposed. */
export interface SocketPath extends Disposable {
  readonly path: string
}

/**
 * A path for a unix socket in any folder, however deep: where the path is too long, the folder is kept open and named by its
 * descriptor, proc(5). The folder must exist. A listener keeps the path until it is closed, because closing removes the
 * socket by this name.
 */
export function socketPath(path: string): SocketPath {
  if (Buffer.byteLength(path) <= SOCKET_PATH_MAX) return { path, [Symbol.dispose]: () => undefined }
  const folder = openSync(dirname(path), 'r')
  let open = true
  return {
    path: `/proc/self/fd/${folder}/${basename(path)}`,
    [Symbol.dispose]: () => {
      if (open) closeSync(folder)
      open = false
    },
  }
}
