import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { clientProcessAbove, servesTerminals } from '#agents/client-process.ts'

/** A folder as /proc would be, with these processes: number, parent, words of the command line. */
function procWith(...processes: readonly (readonly [pid: number, parent: number, argv: readonly string[]])[]) {
  const folder = mkdtempSync(join(tmpdir(), 's2-proc-'))
  for (const [pid, parent, argv] of processes) {
    mkdirSync(join(folder, String(pid)))
    const fields = ['S', parent, pid, pid, ...Array.from({ length: 15 }, () => 0), 1000 + pid, ...Array(30).fill(0)]
    writeFileSync(join(folder, String(pid), 'stat'), `${pid} (any) thing) ${fields.join(' ')}\n`)
    writeFileSync(join(folder, String(pid), 'cmdline'), `${argv.join('\0')}\0`)
  }
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}

test('the client of a hook is the nearest parent that runs its program, behind shells and wrappers', () => {
  using proc = procWith(
    [7, 1, ['/usr/bin/codex']],
    [20, 7, ['node', '/opt/claude/cli.js', '--verbose']],
    [21, 20, ['/bin/sh', '-c', 's2 hook Stop --agent claude']],
    [22, 21, ['node', 's2.js']],
  )
  assert.deepEqual(clientProcessAbove('claude', 22, proc.folder), { pid: 20, startTicks: '1020' })
  assert.deepEqual(clientProcessAbove('codex', 22, proc.folder), { pid: 7, startTicks: '1007' })
  assert.equal(clientProcessAbove('gemini', 22, proc.folder), null)
})

test('a daemon of Codex serves terminals elsewhere; a server that a program started does not', () => {
  using proc = procWith(
    [7, 1, ['/opt/codex/bin/codex', 'app-server', '--listen', 'unix://', '--managed-daemon']],
    [8, 1, ['codex', 'app-server']],
    [9, 1, ['codex', '--listen=unix://', 'app-server']],
    [10, 1, ['claude', 'app-server', '--listen', 'unix://']],
  )
  const isDaemon = [7, 8, 9].map((pid) => servesTerminals('codex', pid, proc.folder))
  assert.deepEqual(isDaemon, [true, false, true])
  assert.ok(!servesTerminals('claude', 10, proc.folder) && !servesTerminals('codex', 11, proc.folder))
})

test('the client may be the first process of a container', () => {
  using proc = procWith([1, 0, ['claude']], [9, 1, ['/bin/sh', '-c', 's2 hook Stop --agent claude']])
  assert.deepEqual(clientProcessAbove('claude', 9, proc.folder), { pid: 1, startTicks: '1001' })
})

test('parents that form a circle end the look', () => {
  using proc = procWith([5, 6, ['sh']], [6, 5, ['sh']])
  assert.equal(clientProcessAbove('claude', 5, proc.folder), null)
})
