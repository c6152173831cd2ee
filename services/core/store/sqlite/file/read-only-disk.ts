import { closeSync, openSync, unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'

/**
 * Whether the file system that holds a path has become read-only. Only a file that is made there shows it: access(2) does not, of a
 * file system that an error of its disk has made so.
 */
export function isOnReadOnlyDisk(path: string): boolean {
  const probe = join(dirname(path), `.s2-probe-${process.pid}`)
  try {
    closeSync(openSync(probe, 'wx', 0o600))
    unlinkSync(probe)
    return false
  } catch (error) {
    return isReadOnly(error)
  }
}

export function isReadOnly(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EROFS'
}

/** A disk that has failed, or a folder that the sandbox of a unit does not let its program write (systemd.exec(5)). */
export function readOnlyDisk(path: string, cause: unknown): S2Error {
  return new S2Error('unavailable', `the file system that holds ${path} is read-only`, {
    next:
      'see dmesg for the cause, make it writable (mount -o remount,rw), and start the program again where no unit does that; ' +
      'a unit of systemd wants the folder in its ReadWritePaths=, which make install does for S2_STORE',
    cause,
  })
}
