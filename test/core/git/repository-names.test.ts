/** Clones of one repository on different hosts have a name in common, and no name carries a credential. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { isSameRepository } from '#fleet/reservation.ts'
import { Checkout } from '#git/checkout.ts'
import { nameOfRemote, repositoryNames } from '#git/repository-names.ts'
import { systemClock } from '#runtime/clock.ts'

const root = mkdtempSync(join(tmpdir(), 's2-names-'))
after(() => rmSync(root, { recursive: true, force: true }))

const who = { GIT_AUTHOR_NAME: 't', GIT_AUTHOR_EMAIL: 't@x', GIT_COMMITTER_NAME: 't', GIT_COMMITTER_EMAIL: 't@x' }
const env = { PATH: process.env.PATH, HOME: root, GIT_CONFIG_NOSYSTEM: '1', ...who }

function git(folder: string, ...words: string[]): string {
  return execFileSync('git', words, { cwd: folder, env, encoding: 'utf8', stdio: 'pipe' })
}

function repository(name: string): string {
  git(root, 'init', '--quiet', name)
  return join(root, name)
}

async function namesOf(folder: string): Promise<string[]> {
  return await repositoryNames(await Checkout.at(folder, { clock: systemClock, env }))
}

for (const [url, name] of [
  ['git@example.org:team/app.git', 'example.org/team/app'],
  ['example.org:team/app', 'example.org/team/app'],
  ['ssh://git@example.org:2222/team/app.git/', 'example.org/team/app'],
  ['https://Example.org/Team/App.git', 'example.org/team/app'],
  ['https://user:secret@example.org/team/app', 'example.org/team/app'],
  ['https://secret@example.org/team/app?token=secret#secret', 'example.org/team/app'],
  ['git@[2001:db8::1]:team/app.git', '[2001:db8::1]/team/app'],
  ['file:///srv/git/app.git', '/srv/git/app'],
  ['/srv/git/app/.git', '/srv/git/app'],
  ['../app.git', '/home/app'],
] as const) {
  test(`${url} is ${name}`, () => {
    assert.equal(nameOfRemote(url, '/home/clone'), name)
  })
}

test('clones with different remotes have their first commit in common', async () => {
  const one = repository('one')
  git(one, 'commit', '--quiet', '--allow-empty', '-m', 'begin')
  git(root, 'clone', '--quiet', 'one', 'two')
  git(join(root, 'two'), 'remote', 'set-url', 'origin', 'git@fork.example.org:me/app.git')
  const [names, others] = [await namesOf(one), await namesOf(join(root, 'two'))]
  assert.equal(names.length, 1)
  assert.equal(others[0], 'fork.example.org/me/app')
  assert.ok(isSameRepository(names, others))
})

test('a shallow clone does not take its oldest commit for the first one', async () => {
  const full = repository('full')
  for (const message of ['one', 'two', 'three']) git(full, 'commit', '--quiet', '--allow-empty', '-m', message)
  git(root, 'clone', '--quiet', '--depth', '1', `file://${full}`, 'shallow')
  git(join(root, 'shallow'), 'config', 's2.repo', 'the app')
  assert.deepEqual(await namesOf(join(root, 'shallow')), ['the app', full.toLowerCase()])
})

test('a repository without commits and remotes has no name', async () => {
  assert.deepEqual(await namesOf(repository('empty')), [])
})
