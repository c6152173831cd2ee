import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { GitPublisher } from '#git/git-publisher.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { PATIENCE_MS } from '../../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-hostile-branch-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const who = { GIT_AUTHOR_NAME: 't', GIT_AUTHOR_EMAIL: 't@x', GIT_COMMITTER_NAME: 't', GIT_COMMITTER_EMAIL: 't@x' }
const env = { PATH: process.env.PATH, HOME: folder, TMPDIR: join(folder, 'tmp'), GIT_CONFIG_NOSYSTEM: '1', ...who }
mkdirSync(env.TMPDIR)

/** A remote, and what somebody who may push there can do with it. */
class Remote {
  readonly path: string

  constructor(name: string, format: 'sha1' | 'sha256' = 'sha1') {
    this.path = join(folder, `${name}.git`)
    execFileSync('git', ['init', '--quiet', '--bare', `--object-format=${format}`, '-b', 'main', this.path], { env })
  }

  git(args: readonly string[], input: string | Buffer = ''): string {
    return execFileSync('git', ['--git-dir', this.path, ...args], { env, input, encoding: 'utf8' }).trim()
  }

  blob(content: string): string {
    return this.git(['hash-object', '-w', '--stdin'], content)
  }

  /** Entries as `ls-tree` shows them. */
  tree(...entries: readonly string[]): string {
    return this.git(['mktree'], entries.map((each) => `${each}\n`).join(''))
  }

  /** Sets a ref to a new commit of a tree. */
  set(ref: string, tree: string): void {
    this.git(['update-ref', ref, this.git(['commit-tree', '-m', 'x', tree])])
  }

  files(): string[] {
    return this.git(['ls-tree', '-r', '--name-only', 'main']).split('\n')
  }

  open(name = ''): Promise<GitPublisher> {
    const place = { remote: this.path, branch: 'main', timeoutMs: PATIENCE_MS, ...(name ? { folder: name } : {}) }
    return GitPublisher.open(place, { clock: systemClock, chance: systemChance, env })
  }
}

const FILES = new Map([
  ['credentials/manifest.json', 'the list\n'],
  ['credentials/one.json', 'a file\n'],
])

test('an empty remote that hashes by SHA-256 is published to, and asked to be let in', async () => {
  const remote = new Remote('empty', 'sha256')
  await using publisher = await remote.open()
  await publisher.publish(FILES, 'First')
  assert.deepEqual(remote.files(), [...FILES.keys()])
  assert.equal(remote.git(['rev-parse', 'main']).length, 64)
  await publisher.publish(new Map([['credentials/one.json', null]]), 'Second')
  assert.deepEqual(remote.files(), ['credentials/manifest.json'])
  const asked = new Remote('asked', 'sha256')
  await using host = await asked.open()
  const id = createHash('sha256').update('please').digest('hex')
  await host.leaveRequest(id, 'please')
  await using issuer = await asked.open()
  assert.deepEqual([...(await issuer.requests(100))], [[id, 'please']])
})

test('a folder that was made for the one hash serves the other', async () => {
  const place = join(folder, 'publication.git')
  for (const [index, format] of (['sha1', 'sha256', 'sha1'] as const).entries()) {
    const remote = new Remote(`changing-${index}`, format)
    const publisher = await remote.open(place)
    await publisher.publish(FILES, 'First')
    assert.deepEqual(remote.files(), [...FILES.keys()])
  }
})

test('what somebody puts on the branch does not keep us from publishing there', async (t) => {
  const cases: Record<string, (remote: Remote) => string> = {
    'folders that stand for ten billion files': (remote) => {
      let inner = `100644 blob ${remote.blob('x')}`
      for (let level = 0; level < 10; level += 1)
        inner = `040000 tree ${remote.tree(...Array.from({ length: 10 }, (_, index) => `${inner}\t${index}`))}`
      return remote.tree(`${inner}\tbomb`)
    },
    'more files among ours than can be listed': (remote) => {
      const blob = remote.blob('x')
      const many = Array.from({ length: 40_000 }, (_, index) => `100644 blob ${blob}\t${index}.json`)
      return remote.tree(`040000 tree ${remote.tree(...many)}\tcredentials`)
    },
    'a link in the place of our folder': (remote) => remote.tree(`120000 blob ${remote.blob('/etc')}\tcredentials`),
    'a file in the place of our folder': (remote) => remote.tree(`100644 blob ${remote.blob('x')}\tcredentials`),
    'a submodule in the place of our folder': (remote) => remote.tree(`160000 commit ${'1'.repeat(40)}\tcredentials`),
    'a folder in the place of the list': (remote) => {
      const list = remote.tree(`100644 blob ${remote.blob('x')}\tx`)
      return remote.tree(`040000 tree ${remote.tree(`040000 tree ${list}\tmanifest.json`)}\tcredentials`)
    },
    'a list of megabytes': (remote) => {
      const list = remote.tree(`100644 blob ${remote.blob('x'.repeat(2_000_000))}\tmanifest.json`)
      return remote.tree(`040000 tree ${list}\tcredentials`)
    },
  }
  for (const [name, treeOf] of Object.entries(cases)) {
    await t.test(name, async () => {
      const remote = new Remote(name)
      remote.set('refs/heads/main', treeOf(remote))
      await using publisher = await remote.open()
      const branch = await publisher.snapshot()
      assert.equal(await branch.read('credentials/manifest.json'), null)
      assert.ok(Array.isArray(await branch.list('credentials')))
      await publisher.publish(FILES, 'Credentials')
      for (const [path, content] of FILES)
        assert.equal(remote.git(['cat-file', 'blob', `main:${path}`]), content.trim())
      assert.equal((await (await publisher.snapshot()).read('credentials/manifest.json'))?.toString(), 'the list\n')
    })
  }
})

test('what others have on the branch stays as it is, whatever its name', async () => {
  const remote = new Remote('others')
  const blob = remote.blob('x')
  const inner = remote.tree(`100755 blob ${blob}\trun`, `120000 blob ${blob}\tlink`)
  const names = Buffer.from(
    `100644 blob ${blob}\ta\xffb\n100644 blob ${blob}\tbl ank\n040000 tree ${inner}\tsub\n`,
    'latin1',
  )
  const tree = remote.git(['mktree'], names)
  remote.set('refs/heads/main', tree)
  await using publisher = await remote.open()
  await publisher.publish(FILES, 'Credentials')
  await publisher.publish(new Map([...FILES.keys()].map((path) => [path, null])), 'Nothing more')
  assert.equal(remote.git(['rev-parse', 'main^{tree}']), tree)
})

test('a request that was spoiled keeps no other from being read, and is told as empty', async () => {
  const remote = new Remote('requests')
  const [good = '', bad = ''] = ['good', 'bad'].map((each) => createHash('sha256').update(each).digest('hex'))
  await using host = await remote.open()
  await host.leaveRequest(good, 'let me in')
  const blob = remote.blob('x')
  remote.set(`refs/s2/requests/${bad}`, remote.git(['mktree'], `100644 blob ${blob}\t..\n`))
  const commit = remote.git(['rev-parse', `refs/s2/requests/${bad}`])
  remote.git(['update-ref', '--stdin'], Buffer.from(`create refs/s2/requests/\xff ${commit}\n`, 'latin1'))
  await using issuer = await remote.open()
  const found = await issuer.requests(1_000)
  assert.deepEqual(
    new Map(found),
    new Map([
      [good, 'let me in'],
      [bad, ''],
    ]),
  )
  await issuer.removeRequests([...found.keys()])
  assert.deepEqual([...(await issuer.requests(1_000))], [])
})

test('more requests than can be listed are taken some at a time', async () => {
  const remote = new Remote('flood')
  remote.set('refs/heads/main', remote.tree(`100644 blob ${remote.blob('x')}\tx`))
  const commit = remote.git(['rev-parse', 'main'])
  const ids = Array.from({ length: 20_000 }, (_, index) => index.toString(16).padStart(64, '0'))
  const lines = ids.map((id) => `${commit} refs/s2/requests/${id}\n`).join('')
  writeFileSync(join(remote.path, 'packed-refs'), `# pack-refs with: peeled fully-peeled sorted \n${lines}`)
  await using issuer = await remote.open()
  const found = await issuer.requests(1_000)
  assert.equal(found.size, 100)
  await issuer.removeRequests([...found.keys()])
  const next = await issuer.requests(1_000)
  assert.equal(next.size, 100)
  assert.ok(![...found.keys()].some((id) => next.has(id)))
  await issuer.publish(FILES, 'Credentials')
})
