/**
 * Run after every `npm install` that changes package-lock.json (`make lock` does both), with its folder where it is not the
 * checkout's own.
 *
 * Some registries lack some platforms' builds of a native tool. A lock written there lacks those entries, and `npm ci` (11
 * and newer) then calls it out of sync, although none of them would be installed. This adds entries with version and
 * platform, and removes addresses, so that a lock made with one registry installs from any.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

interface LockEntry {
  version?: string
  resolved?: string
  dev?: boolean
  optional?: boolean
  os?: string[]
  cpu?: string[]
  libc?: string[]
  optionalDependencies?: Record<string, string>
}

const file = resolve(process.argv[2] ?? join(import.meta.dirname, '..'), 'package-lock.json')
const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockEntry> }
const added: string[] = []

for (const [path, entry] of Object.entries(lock.packages)) {
  delete entry.resolved
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    if (lock.packages[`${path}/node_modules/${name}`] || lock.packages[`node_modules/${name}`]) continue
    lock.packages[`node_modules/${name}`] = platformEntry(name, range, entry.dev === true)
    added.push(name)
  }
}

lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, 'en')))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.log(added.length === 0 ? 'the lock is complete' : `added to the lock: ${added.join(', ')}`)

/** An entry with the platform from the name, as npm's native tools are published. Throws for an unknown platform. */
function platformEntry(name: string, range: string, dev: boolean): LockEntry {
  const os = /android|darwin|freebsd|openbsd|netbsd|sunos|win32|linux|openharmony|aix/.exec(name)?.[0]
  const cpu = /arm64|x64|ia32|arm|ppc64|riscv64|s390x|loong64|mips64el|wasm32/.exec(name)?.[0]
  if (cpu === undefined || (os === undefined && cpu !== 'wasm32')) {
    throw new Error(`${name} is missing from the lock and its name does not tell its platform`)
  }
  const libc = /musl/.test(name) ? ['musl'] : /-gnu/.test(name) ? ['glibc'] : undefined
  // The keys have npm's order, so that its next run changes nothing.
  return {
    version: range.replace(/^[\^~]/, ''),
    cpu: [cpu],
    ...(dev && { dev }),
    ...(libc && { libc }),
    optional: true,
    ...(os !== undefined && { os: [os] }),
  }
}
