/** Git in a repository that strangers made runs none of their commands. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { repositoryHere } from '#git/files-here.ts'
import { systemClock } from '#runtime/clock.ts'

const root = mkdtempSync(join(tmpdir(), 's2-checkout-'))
after(() => rmSync(root, { recursive: true, force: true }))

const who = { GIT_AUTHOR_NAME: 't', GIT_AUTHOR_EMAIL: 't@x', GIT_COMMITTER_NAME: 't', GIT_COMMITTER_EMAIL: 't@x' }
const env = { PATH: process.env.PATH, HOME: root, GIT_CONFIG_NOSYSTEM: '1', ...who }

function git(folder: string, ...words: string[]): string {
  return spawnSync('git', words, { cwd: folder, env, encoding: 'utf8' }).stdout.trim()
}

test('a repository whose settings name commands runs none of them when files are reserved there', async () => {
  git(root, 'init', '--quiet', 'hostile')
  const folder = join(root, 'hostile')
  for (const message of ['one', 'two']) git(folder, 'commit', '--quiet', '--allow-empty', '-m', message)
  const first = git(folder, 'rev-parse', 'HEAD~1')
  const ran = join(root, 'ran')
  for (const [name, value] of [
    ['core.fsmonitor', `touch ${ran}; false`],
    ['core.sshCommand', `touch ${ran}; false`],
    ['core.pager', `touch ${ran}; cat`],
    ['extensions.partialClone', 'origin'],
    ['core.repositoryFormatVersion', '1'],
    ['remote.origin.url', 'ssh://example.org/app.git'],
    ['remote.origin.promisor', 'true'],
    ['remote.origin.partialCloneFilter', 'tree:0'],
  ] as const)
    git(folder, 'config', name, value)
  rmSync(join(folder, '.git/objects', first.slice(0, 2), first.slice(2)))
  const here = await repositoryHere(folder, { clock: systemClock, env })
  assert.deepEqual(here.repository, ['example.org/app'])
  assert.ok(!existsSync(ran))
  git(folder, 'rev-list', '--max-parents=0', 'HEAD')
  assert.ok(existsSync(ran), 'git alone runs the command: the test shows something')
})
