/**
 * Runs the test files, or those named as arguments, and ends with the line `N passed, N failed`; what was skipped is
 * told before it. test/system is left out: it needs systemd and docker, which a plain machine has not.
 *
 * All that tests make lies in one temporary folder, which ends with the run. What the person who runs them keeps in the
 * environment, for S2, git, node or the terminal, does not reach them.
 */
import { execFileSync } from 'node:child_process'
import {
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

/** What tests find of the environment, beside a home and a temporary folder of their own. */
const KEPT = ['PATH', 'LD_LIBRARY_PATH', 'CI', 'STORM', 'STORMS', 'STORY']

/** What one test may take: ten times what the longest takes on a machine that others keep busy. */
const TEST_MS = 600_000

/** The kernel takes no path of a socket longer than 107 bytes; what tests put below their folder has fewer than 80. */
const FOLDER_BYTES_MAX = 27

/** Sockets and programs can lie in this folder, which a long TMPDIR or a disk that is mounted noexec does not allow. */
function makeFolder(): string {
  const refusals: string[] = []
  for (const parent of new Set([tmpdir(), '/tmp', '/var/tmp', '/dev/shm'])) {
    let folder: string | undefined
    try {
      folder = mkdtempSync(join(realpathSync(parent), 's2.'))
      if (Buffer.byteLength(folder) > FOLDER_BYTES_MAX) throw new Error('its name is too long for sockets below it')
      if (!/^[\w./-]+$/.test(folder)) throw new Error('its name has characters that a shell does not take as they are')
      const program = join(folder, 'program')
      writeFileSync(program, '#!/bin/sh\n', { mode: 0o700 })
      execFileSync(program)
      rmSync(program)
      return folder
    } catch (error) {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
      refusals.push(`    ${parent}: ${(error as Error).message}`)
    }
  }
  console.error(`s2: tests have no place for their files; next: set TMPDIR to a short one\n${refusals.join('\n')}`)
  process.exit(1)
}

/** Processes that were started with something in the folder, and their command lines. */
function inhabitants(): Map<number, string> {
  const found = new Map<number, string>()
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each) && Number(each) !== process.pid)) {
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8')
      const started = command + readFileSync(`/proc/${name}/environ`, 'utf8')
      if (started.includes(folder)) found.set(Number(name), command.replaceAll('\0', ' ').trim())
    } catch {
      // it has ended, or is somebody else's
    }
  }
  return found
}

/** Ends and removes what an interrupted test, or one that failed, left. */
function clear(): void {
  for (const pid of inhabitants().keys()) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it has ended meanwhile
    }
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
}

const named = process.argv.slice(2)
const files = named.length > 0 ? named : globSync('test/**/*.test.ts', { exclude: ['test/system/**'] }).sort()

const folder = makeFolder()
process.on('exit', clear)
const interrupted = new AbortController()
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.once(signal, () => {
    interrupted.abort() // ends the test processes
    process.exit(code)
  })
}
const OURS = ['home', 'node-compile-cache']
const home = join(folder, 'home')
mkdirSync(home)
for (const name of Object.keys(process.env)) if (!KEPT.includes(name)) delete process.env[name]
Object.assign(process.env, { HOME: home, TMPDIR: folder, LANG: 'C.UTF-8', GIT_CONFIG_NOSYSTEM: '1' })

let passed = 0
let failed = 0
const skipped: string[] = []
const silent: string[] = []
const stream = run({
  files,
  concurrency: availableParallelism(),
  timeout: TEST_MS,
  execArgv: ['--import', new URL(`./test-limit.ts?ms=${TEST_MS + 60_000}`, import.meta.url).href],
  signal: interrupted.signal,
})
stream.on('test:pass', ({ name, skip }) => {
  if (skip !== undefined && skip !== false) skipped.push(typeof skip === 'string' ? `${name} (${skip})` : name)
  // A file is a test by itself only where no test of it was heard of: it exited in their midst, or has none.
  if (files.includes(name)) silent.push(name)
})
stream.on('test:summary', ({ file, counts, success }) => {
  if (file !== undefined) return
  passed = counts.passed - silent.length
  // What was cancelled did not pass; and a run that calls itself failed has at least one reason.
  failed = Math.max(counts.tests - passed - counts.skipped - counts.todo, success ? 0 : 1)
})

const report = stream.compose(spec)
report.pipe(process.stdout)
await finished(report)

for (const name of silent) console.log(`failed: ${name} ended without a word of its tests`)
for (const name of skipped) console.log(`skipped: ${name}`)
const left = [...readdirSync(folder).filter((name) => !OURS.includes(name)), ...inhabitants().values()]
if (left.length > 0) console.log(`left behind by tests, and cleared away now: ${left.join(', ')}`)
console.log(`${passed} passed, ${failed} failed`)
// Nothing found is a mistake in a name, not a success.
if (failed > 0 || passed === 0) process.exitCode = 1
