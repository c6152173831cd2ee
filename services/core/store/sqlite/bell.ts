import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import { identify } from './place.ts'

/**
 * The doorbell: a file beside the database into which one byte is written after each commit. Watchers hear of that when all
 * is visible, while the log's own events come too early (its frames are written before they are published).
 */
export class Bell implements Disposable {
  readonly #path: string
  #file: number

  constructor(path: string) {
    this.#path = path
    this.#file = openBell(path)
  }

  ring(): void {
    try {
      writeSync(this.#file, RING, 0, 1, 0)
    } catch {
      // a full disk, say: watchers poll as well, and the commit stands
    }
  }

  /** Makes the file anew when somebody has removed it: watchers would hear nothing of the old one. */
  mend(): void {
    if (identify(this.#path)?.inode === fstatSync(this.#file).ino) return
    const removed = this.#file
    this.#file = openBell(this.#path)
    closeSync(removed)
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}

const RING = Buffer.from('.')

function openBell(path: string): number {
  return openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600)
}
