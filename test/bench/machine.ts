import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { median } from './figures.ts'

/** What figures depend on. No names of machines, no paths. */
export interface Machine {
  readonly cores: number
  readonly cpu: string
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
  readonly sqlite: string
  readonly python: string
  readonly pythonSqlite: string
  readonly fileSystem: string
  /** How much else it does: processes that want a core, on average of the last minute. */
  readonly load: number
  /** What a commit waits for at least: write 4 KiB, fsync. */
  readonly fsyncP50Ms: number
}

export function describe(folder: string): Machine {
  const [python = 'none', pythonSqlite = 'none'] = pythonVersions()
  return {
    cores: allowedCores().length,
    cpu: cpus()[0]?.model.trim() || 'unknown',
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    sqlite: sqliteVersion(),
    python,
    pythonSqlite,
    fileSystem: fileSystem(folder),
    load: loadavg()[0] ?? 0,
    fsyncP50Ms: fsyncMs(folder),
  }
}

/** The cores that this process may run on: `0-1,4` in proc(5). */
export function allowedCores(): number[] {
  const line = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return line.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}

export function hasCommand(name: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => {
    try {
      closeSync(openSync(join(folder, name), 'r'))
      return true
    } catch {
      return false
    }
  })
}

function sqliteVersion(): string {
  const database = new Database(':memory:')
  try {
    return (database.prepare('SELECT sqlite_version() AS version').get() as { version: string }).version
  } finally {
    database.close()
  }
}

function pythonVersions(): string[] {
  try {
    const code = 'import platform, sqlite3; print(platform.python_version(), sqlite3.sqlite_version)'
    return execFileSync('python3', ['-c', code], { encoding: 'utf8' }).trim().split(' ')
  } catch {
    return []
  }
}

/** By its magic number, statfs(2). */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
}

export function fileSystem(folder: string): string {
  const { type } = statfsSync(folder)
  return FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`
}

function fsyncMs(folder: string): number {
  const path = join(folder, 'fsync-probe')
  const page = Buffer.alloc(4096, 1)
  const file = openSync(path, 'w')
  try {
    const waits = Array.from({ length: 51 }, () => {
      const start = performance.now()
      writeSync(file, page)
      fsyncSync(file)
      return performance.now() - start
    })
    return median(waits)
  } finally {
    closeSync(file)
    rmSync(path)
  }
}
