import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { RunningTasks } from '#spool/running-tasks.ts'

const state = mkdtempSync(join(tmpdir(), 's2-running-'))
after(() => rmSync(state, { recursive: true }))

const session = 'conv_0123456789abcdef/b' as const

test('what is said is kept whole and bounded, and what is no such file is passed over', async () => {
  const tasks = new RunningTasks(state)
  assert.deepEqual([await tasks.list(), await tasks.allSaid()], [[], []])
  const said = { session, task: 't-1', epoch: 2, count: 1, progress: 'x'.repeat(9_000), end: null }
  await tasks.say({ ...said, end: { state: 'completed', words: 'y'.repeat(9_000) } })
  const kept = tasks.said(said)
  assert.deepEqual([kept?.progress?.length, kept?.end?.words.length], [500, 4_000])
  assert.equal(tasks.said({ task: 't-1', epoch: 3 }), null)

  const folder = join(state, 'agents', 'said')
  for (const [name, text] of Object.entries({
    't-2.json': 'not json',
    't-3.json': JSON.stringify({ ...said, task: 't-1' }),
    't-4.json': JSON.stringify({ ...said, task: 't-4', session: '../../etc' }),
    't-5.json': JSON.stringify({ ...said, task: 't-5', epoch: -1 }),
    't-6.json': 'x'.repeat(100_000),
  }))
    writeFileSync(join(folder, name), text)
  mkdirSync(join(folder, 't-7.json'))
  symlinkSync('/etc/passwd', join(folder, 't-8.json'))
  assert.deepEqual(
    (await tasks.allSaid()).map(({ task }) => task),
    ['t-1'],
  )
  assert.equal(tasks.said({ task: '../t-1', epoch: 2 }), null)
  await tasks.forget(said)
  assert.equal(tasks.said(said), null)
})
