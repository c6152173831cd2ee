/**
 * Runs the test files, or those named as arguments. The last line is `N passed, N failed`, after those that were skipped.
 * test/system is left out, because it needs systemd and docker, and test/agents, because it needs the clients of agents.
 *
 * Tests write into one temporary folder, which is removed at the end. The caller's environment for S2, git, node or the
 * terminal does not reach them.
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
import { delimiter, join } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

/** The variables that tests get from the environment; home and temporary folder are their own. */
const KEPT = ['PATH', 'LD_LIBRARY_PATH', 'CI', 'STORM', 'STORMS', 'STORY', 'TEST_CLIENTS']

/** The limit of one test: ten times the longest on a busy machine. */
const TEST_MS = 600_000

/** A socket's path has at most 107 bytes; the paths of tests below this folder have fewer than 80. */
const FOLDER_BYTES_MAX = 27

/** Makes a folder that can hold sockets and programs: its path is short, and its disk is not mounted noexec. */
function makeFolder(): string {
  const refusals: string[] = []
  for (const parent of new Set([tmpdir(), '/tmp', '/var/tmp', '/dev/shm'])) {
    let folder: string | undefined
    try {
      folder = mkdtempSync(join(realpathSync(parent), 's2.'))
      if (Buffer.byteLength(folder) > FOLDER_BYTES_MAX) throw new Error('its name is too long for sockets below it')
      if (!/^[\w./-]+$/.test(folder)) throw new Error('its name has characters that are special to a shell')
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
  console.error(`s2: no folder can hold the files of tests; next: set TMPDIR to a short path\n${refusals.join('\n')}`)
  process.exit(1)
}

/** Processes whose command line or environment names the folder, and their command lines. */
function processesIn(): Map<number, string> {
  const found = new Map<number, string>()
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each) && Number(each) !== process.pid)) {
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8')
      const started = command + readFileSync(`/proc/${name}/environ`, 'utf8')
      if (started.includes(folder)) found.set(Number(name), command.replaceAll('\0', ' ').trim())
    } catch {
      // it has ended, or is another user's
    }
  }
  return found
}

/** Ends processes and removes files that tests left. */
function clear(): void {
  for (const pid of processesIn().keys()) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it has ended meanwhile
    }
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
}

const named = process.argv.slice(2)
const files = named.length > 0 ? named : globSync('test/**/*.test.ts', { exclude: ['test/{agents,system}/**'] }).sort()

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
// The checkout's command s2 is not built in every checkout, and what `s2 work` brings along is to be tried.
const ownCommands = join(import.meta.dirname, 'bin')
process.env.PATH = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((each) => each !== ownCommands)
  .join(delimiter)
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
  // A file is reported as a test only where none of its tests was: it exited early, or has none.
  if (files.includes(name)) silent.push(name)
})
stream.on('test:summary', ({ file, counts, success }) => {
  if (file !== undefined) return
  passed = counts.passed - silent.length
  // A cancelled test did not pass, and a failed run has at least one failure.
  failed = Math.max(counts.tests - passed - counts.skipped - counts.todo, success ? 0 : 1)
})

const report = stream.compose(spec)
report.pipe(process.stdout)
await finished(report)

for (const name of silent) console.log(`failed: ${name} ended without a result of its tests`)
for (const name of skipped) console.log(`skipped: ${name}`)
const left = [...readdirSync(folder).filter((name) => !OURS.includes(name)), ...processesIn().values()]
if (left.length > 0) console.log(`left behind by tests, and removed now: ${left.join(', ')}`)
console.log(`${passed} passed, ${failed} failed`)
// A run without tests is a mistake in a name, not a success.
if (failed > 0 || passed === 0) process.exitCode = 1
