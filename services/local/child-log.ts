import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** Bytes of one log file; when it is full it becomes `….1`, and the one before is forgotten. */
const FILE_MAX = 4_194_304

/** What one program says, kept in a file of bounded size. */
export class ChildLog implements Disposable {
  readonly #path: string
  #file: number
  #bytes: number

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    this.#path = path
    this.#file = openSync(path, 'a', 0o600)
    this.#bytes = fstatSync(this.#file).size
  }

  /** Writes at once: what a program said last is there when it has died. A full disk loses the log, not the fleet. */
  write(chunk: Buffer | string): void {
    try {
      this.#bytes += writeSync(this.#file, typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
      if (this.#bytes >= FILE_MAX) this.#turn()
    } catch {
      // ENOSPC and the like: there is nowhere to say it
    }
  }

  #turn(): void {
    renameSync(this.#path, `${this.#path}.1`)
    closeSync(this.#file)
    this.#file = openSync(this.#path, 'a', 0o600)
    this.#bytes = 0
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}
