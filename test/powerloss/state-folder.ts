/** A folder in which one state of the disk after the other is laid. */
import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { contentOf, type DiskState } from './disk.ts'

const BUFFER_BYTES = 1024 * 1024
const ROOT_USER = 0

export class StateFolder implements Disposable {
  readonly root: string
  readonly #buffer = Buffer.alloc(BUFFER_BYTES)

  constructor(root: string) {
    this.root = root
    mkdirSync(root, { recursive: true, mode: 0o700 })
  }

  /** Whatever lay here before is gone. */
  lay({ entries }: DiskState): void {
    const kept = new Set(entries.flatMap(({ path, file }) => (file === null ? [] : [path.slice(1)])))
    for (const name of readdirSync(this.root)) {
      if (!kept.has(name)) rmSync(join(this.root, name), { recursive: true, force: true })
    }
    for (const { path, file, mode } of entries) {
      const at = this.root + path
      if (file === null) mkdirSync(at)
      else writeFileSync(at, contentOf(file, this.#buffer))
      if (process.getuid?.() === ROOT_USER) chownSync(at, Math.floor(mode / 2 ** 16), -1)
      chmodSync(at, mode % 2 ** 16)
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true })
  }
}
