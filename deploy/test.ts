/**
 * Runs the test files, or those named as arguments, and ends with the line `N passed, N failed`.
 * test/system is left out: it needs systemd and docker, which a plain machine has not.
 */
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const named = process.argv.slice(2)
const files = named.length > 0 ? named : globSync('test/**/*.test.ts', { exclude: ['test/system/**'] }).sort()

let passed = 0
let failed = 0
const stream = run({
  files,
  concurrency: availableParallelism(),
  timeout: 300_000,
  execArgv: ['--import', new URL('./test-limit.ts', import.meta.url).href],
})
stream.on('test:summary', ({ file, counts, success }) => {
  if (file !== undefined) return
  passed = counts.passed
  // What was cancelled did not pass; and a run that calls itself failed has at least one reason.
  failed = Math.max(counts.tests - passed - counts.skipped - counts.todo, success ? 0 : 1)
})

const report = stream.compose(spec)
report.pipe(process.stdout)
await finished(report)

console.log(`${passed} passed, ${failed} failed`)
// Nothing found is a mistake in a name, not a success.
if (failed > 0 || passed === 0) process.exitCode = 1
