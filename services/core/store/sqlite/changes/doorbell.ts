import { closeSync, constants, fchmodSync, fstatSync, openSync, rmSync, writeSync } from 'node:fs'
import { identify } from '../file/database-path.ts'

/**
 * The doorbell: a file beside the database into which one byte is written after each commit. Watchers of that file read when
 * the commit is visible; events of the write-ahead log come too early, since frames are written before they are published.
 */
export class Doorbell implements Disposable {
  readonly #path: string
  readonly #mode: number
  #file: number

  /** `mode`: who may ring it, as in chmod(2). */
  constructor(path: string, mode: number) {
    this.#path = path
    this.#mode = mode
    this.#file = openBell(path, mode)
  }

  ring(): void {
    if (this.#file < 0) return // closed: the file descriptor may be another file's by now
    try {
      writeSync(this.#file, RING, 0, 1, 0)
    } catch {
      // a full disk, for example: the commit holds, and watchers poll as well
    }
  }

  /** Makes the file again where somebody removed it: watchers would hear nothing of the old one. */
  mend(): void {
    if (this.#file < 0 || identify(this.#path)?.inode === fstatSync(this.#file).ino) return
    const removed = this.#file
    this.#file = openBell(this.#path, this.#mode)
    closeSync(removed)
  }

  [Symbol.dispose](): void {
    if (this.#file >= 0) closeSync(this.#file)
    this.#file = -1
  }
}

const RING = Buffer.from('.')

/** A doorbell of another user that may not be written is replaced: who may write to the folder may ring. */
function openBell(path: string, mode: number): number {
  try {
    return openOrMakeBell(path, mode)
  } catch {
    rmSync(path, { force: true })
    return openOrMakeBell(path, mode)
  }
}

function openOrMakeBell(path: string, mode: number): number {
  try {
    return openSync(path, constants.O_WRONLY)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT, mode)
  fchmodSync(file, mode) // whatever the umask: a group that shares the database shares its doorbell
  return file
}
