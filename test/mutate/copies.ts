import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { testPath } from './groups.ts'

const ROOT = resolve(import.meta.dirname, '..', '..')
/** What no test needs, or what is large and is linked. */
const LEFT_OUT = ['.git', 'node_modules', '.toolchain']

/** The tests that run: a mutant may make one run for ever. */
const running = new Set<number | undefined>()
const copies = new Set<Copy>()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))
process.once('exit', () => {
  for (const pid of running) endGroup(pid)
  for (const copy of copies) copy[Symbol.dispose]()
})

/** A copy of the working tree that may be broken: its files are its own, its packages those of the tree. */
export class Copy implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-mutate-'))
  readonly #home = join(this.folder, '.home')

  constructor() {
    copies.add(this)
    for (const name of readdirSync(ROOT)) {
      if (!LEFT_OUT.includes(name))
        cpSync(join(ROOT, name), join(this.folder, name), { recursive: true, verbatimSymlinks: true })
    }
    for (const name of ['node_modules', '.toolchain']) symlinkSync(join(ROOT, name), join(this.folder, name))
    mkdirSync(this.#home)
  }

  read(path: string): string {
    return readFileSync(join(this.folder, path), 'utf8')
  }

  write(path: string, text: string): void {
    writeFileSync(join(this.folder, path), text)
  }

  /** Runs a test file. Answers what became of it: `late` where it took longer than it may. */
  async test(path: string, mostMs: number): Promise<'passed' | 'failed' | 'late'> {
    const env = { PATH: process.env.PATH, HOME: this.#home, LANG: 'C.UTF-8' }
    const args = ['--test', '--test-reporter=dot', path]
    const child = spawn(process.execPath, args, { cwd: this.folder, stdio: 'ignore', env, detached: true })
    running.add(child.pid)
    const over = new AbortController()
    const end = once(child, 'exit') as Promise<[number | null]>
    const late = sleep(mostMs, 'late' as const, { signal: over.signal }).catch(() => 'late' as const)
    const first = await Promise.race([end, late])
    over.abort()
    endGroup(child.pid)
    running.delete(child.pid)
    await end
    if (first === 'late') return 'late'
    return first[0] === 0 ? 'passed' : 'failed'
  }

  [Symbol.dispose](): void {
    copies.delete(this)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** How long each test may take: three times what it takes where nothing is wrong, and some seconds. */
export class Limits {
  readonly #copy: Copy
  readonly #ms = new Map<string, number>()

  constructor(copy: Copy) {
    this.#copy = copy
  }

  of(name: string): number {
    return this.#ms.get(name) ?? 0
  }

  /** Throws where a test fails though nothing is wrong. */
  async measure(names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (this.#ms.has(name)) continue
      const began = performance.now()
      const end = await this.#copy.test(testPath(name), 600_000)
      if (end !== 'passed') throw new Error(`${name} ${end} where nothing is wrong`)
      this.#ms.set(name, 3 * (performance.now() - began) + 10_000)
    }
  }
}

/** A test that is broken may leave programs behind. */
function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // all of it has ended
  }
}
