import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { S2Error } from '../../../services/core/fleet/errors.ts'
import { GitPublisher, makeRemote } from '../../../services/core/git/git-publisher.ts'
import { systemChance, systemClock } from '../../../services/core/runtime/clock.ts'
import { PATIENCE_MS } from '../../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-publication-test-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const env = { PATH: process.env.PATH, HOME: folder, TMPDIR: join(folder, 'tmp') }
mkdirSync(env.TMPDIR)

const parts = { clock: systemClock, chance: systemChance, env }
let remotes = 0

async function remote(): Promise<string> {
  remotes += 1
  const path = join(folder, `remote ${remotes}.git`)
  await makeRemote(path, 'main', PATIENCE_MS, { clock: systemClock, env })
  return path
}

function open(path: string, branch = 'main'): Promise<GitPublisher> {
  return GitPublisher.open({ remote: path, branch, timeoutMs: PATIENCE_MS }, parts)
}

function git(path: string, ...args: string[]): string {
  return execFileSync('git', ['--git-dir', path, ...args], { env, encoding: 'utf8' }).trim()
}

test('files are published on an empty branch, and on top of what others put there', async () => {
  const path = await remote()
  await using publisher = await open(path)
  assert.equal(await (await publisher.snapshot()).read('a/one'), null)
  await publisher.publish(new Map([['a/one', '1\n']]), 'First')
  assert.equal((await (await publisher.snapshot()).read('a/one'))?.toString(), '1\n')
  await using other = await open(path)
  await other.publish(new Map([['b/two', '2\n']]), 'Second')
  await publisher.publish(new Map([['a/one', '1, again\n']]), 'Third')
  assert.equal(git(path, 'ls-tree', '-r', '--name-only', 'main'), 'a/one\nb/two')
  assert.equal(git(path, 'log', '--format=%s|%an', 'main'), 'Third|s2\nSecond|s2\nFirst|s2')
  assert.match(git(path, 'ls-tree', 'main', 'a/one'), /^100644 blob/)
})

test('publishing what is there already makes no commit', async () => {
  const path = await remote()
  await using publisher = await open(path)
  const { commit: first } = await publisher.publish(new Map([['x', 'same']]), 'First')
  assert.equal((await publisher.publish(new Map([['x', 'same']]), 'Second')).commit, first)
  assert.equal(git(path, 'rev-list', '--count', 'main'), '1')
})

test('many who push at once all get through, and nothing is lost', async () => {
  const path = await remote()
  const writers = await Promise.all(Array.from({ length: 6 }, () => open(path)))
  await Promise.all(writers.map((each, index) => each.publish(new Map([[`f${index}`, `${index}`]]), `Number ${index}`)))
  for (const each of writers) await each[Symbol.asyncDispose]()
  assert.equal(git(path, 'ls-tree', '--name-only', 'main').split('\n').length, 6)
  assert.equal(git(path, 'rev-list', '--count', 'main'), '6')
})

test('no hook of anybody runs here, and nothing of it stays on the disk', async () => {
  const path = await remote()
  const hooks = join(folder, 'hooks')
  mkdirSync(hooks)
  writeFileSync(join(hooks, 'pre-push'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  writeFileSync(join(folder, '.gitconfig'), `[core]\n\thooksPath = ${hooks}\n`)
  {
    await using publisher = await open(path)
    await publisher.publish(new Map([['secret', 'very']]), 'With a hook about')
    assert.notDeepEqual(readdirSync(env.TMPDIR), [])
  }
  rmSync(join(folder, '.gitconfig'))
  assert.deepEqual(readdirSync(env.TMPDIR), [])
})

test('a remote that is not there, or will not have it, is told with what to do', async () => {
  await using nowhere = await open(join(folder, 'nowhere.git'))
  await assert.rejects(nowhere.publish(new Map([['x', 'y']]), 'Never'), (error: S2Error) => {
    assert.ok(error instanceof S2Error)
    assert.equal(error.code, 'unavailable')
    assert.match(error.message, /git failed asking the remote/)
    return error.next !== undefined
  })
  const guarded = await remote()
  writeFileSync(join(guarded, 'hooks', 'pre-receive'), '#!/bin/sh\necho asked >>asked\necho not today >&2\nexit 1\n', {
    mode: 0o755,
  })
  await using refused = await open(guarded)
  await assert.rejects(refused.publish(new Map([['x', 'y']]), 'Never'), (error: S2Error) => {
    assert.match(error.next ?? '', /let this host push/)
    return true
  })
  assert.equal(readFileSync(join(guarded, 'asked'), 'utf8'), 'asked\n', 'a refusal was taken for a race')
})
