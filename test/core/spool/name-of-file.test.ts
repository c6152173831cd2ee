import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { HeldTasks } from '#spool/held-tasks.ts'
import { nameOfFile } from '#spool/name-of-file.ts'
import { OwnFolder } from '#spool/own-folder.ts'

const IDS = [
  ['claude', 'b3c8bd0e-8f1e-4d9c-a0d3-6bd0bfb9a0d1'],
  ['claude', '..'],
  ['claude', '../../x'],
  ['claude', '______x'],
  ['claude', 'C:\\Users\\x'],
  ['claude', 'a\nb'],
  ['claude', 'a\0b'],
  ['claude', ''],
  ['claude', 'é'],
  ['claude', 'e\u0301'],
  ['claude', 'x'.repeat(10_000)],
  ['claude', 'x'.repeat(10_001)],
  ['x', 'a-b'],
  ['x-a', 'b'],
  ['.', 'x'],
  ['', 'x'],
  ['~', 'x'],
  ['only'],
  ['only-one'],
  ['..'],
] as const

test('a name made of ids stays in its folder, whatever they are, and is no other one', (t) => {
  const path = mkdtempSync(join(tmpdir(), 's2-names-'))
  t.after(() => rmSync(path, { recursive: true }))
  using folder = OwnFolder.open(path)
  for (const ids of IDS) {
    const name = nameOfFile(...(ids as unknown as [string, ...string[]]))
    assert.equal(basename(name), name)
    folder.note(`${name}.json`, '')
  }
  assert.equal(readdirSync(path).length, IDS.length)
})

test('what has usual ids is named by them', () => {
  assert.equal(nameOfFile('codex', '0199:a.b_c-d'), 'codex-0199:a.b_c-d')
  assert.equal(nameOfFile('conv_0123456789abcdef', 'b', 'build-1'), 'conv_0123456789abcdef-b-build-1')
})

test('a held task is never taken for one of another conversation', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 's2-names-'))
  t.after(() => rmSync(state, { recursive: true }))
  const held = new HeldTasks(state)
  const rest = {
    epoch: 1,
    incarnation: 'x',
    by: null,
    process: null,
    place: null,
    takenAt: 1,
    work: 0,
    lost: null,
    ended: null,
  }
  await held.put({ session: 'x/b', task: 'a-b-t', ...rest })
  await held.put({ session: 'x-b-a/b', task: 't', ...rest })
  assert.equal((await held.find('x/b', 'a-b-t'))?.session, 'x/b')
  assert.equal((await held.find('x-b-a/b', 't'))?.session, 'x-b-a/b')
  assert.equal((await held.list()).length, 2)
})
