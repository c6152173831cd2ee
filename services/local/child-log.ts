import { closeSync, constants, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** Bytes of one log file; a full one is renamed to `….1`, replacing the one before. */
const FILE_MAX = 4_194_304
const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants
/** A link in its place is not followed, and a pipe not waited for. */
const APPENDING = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK

/** The output of one program, in a file of bounded size. */
export class ChildLog implements Disposable {
  readonly #path: string
  #file: number
  #bytes: number

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    this.#path = path
    this.#file = openSync(path, APPENDING, 0o600)
    this.#bytes = fstatSync(this.#file).size
  }

  /** Writes at once, so that the last output of a program that died is there. A full disk loses the log, not the fleet. */
  write(chunk: Buffer | string): void {
    try {
      this.#bytes += writeSync(this.#file, typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
      if (this.#bytes >= FILE_MAX) this.#rotate()
    } catch {
      // ENOSPC and the like cannot be logged
    }
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`)
    closeSync(this.#file)
    this.#file = openSync(this.#path, APPENDING, 0o600)
    this.#bytes = 0
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}
