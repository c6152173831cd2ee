/** A folder in which one state of the disk after the other is laid. */
import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync, type Stats, statSync, writeFileSync } from 'node:fs'
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
      if (kept.has(name)) continue
      rmSync(join(this.root, name), { recursive: true, force: true })
    }
    for (const { path, file, mode } of entries) {
      const at = this.root + path
      if (file === null) mkdirSync(at, permissionsOf(mode))
      else writeFileSync(at, contentOf(file, this.#buffer), { mode: permissionsOf(mode) })
      if (needsChange(statSync(at), mode)) this.#change(at, mode)
    }
  }

  #change(path: string, mode: number): void {
    if (process.getuid?.() === ROOT_USER) chownSync(path, ownerOf(mode), statSync(path).gid)
    chmodSync(path, permissionsOf(mode))
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true })
  }
}

function permissionsOf(mode: number): number {
  return mode % 2 ** 16
}

function ownerOf(mode: number): number {
  return Math.floor(mode / 2 ** 16)
}

function needsChange(stat: Stats, mode: number): boolean {
  return (stat.mode & 0o7777) !== permissionsOf(mode) || stat.uid !== ownerOf(mode)
}
