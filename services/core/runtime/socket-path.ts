import { closeSync, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'

/** Longest path of a unix socket on Linux, unix(7): 108 bytes with its closing zero. */
const SOCKET_PATH_MAX = 107

/** A path that bind(2) and connect(2) take, for as long as it is not disposed. */
export interface SocketPath extends Disposable {
  readonly path: string
}

/**
 * Names a unix socket so that it can be bound and reached however deep its folder lies: where the path is too long,
 * the folder is held open and named by its descriptor, proc(5). The folder must exist. A listener keeps the door
 * until it is closed, since closing removes the socket by this name.
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
