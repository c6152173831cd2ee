import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Credential } from '#fleet/credential.ts'
import { systemClock } from '#runtime/clock.ts'
import { GitMirror } from '../../services/core/git/git-mirror.ts'
import { CredentialSync } from '../../services/cred-sync/sync-credential.ts'
import { PATIENCE_MS } from '../until.ts'
import { file, Remote, WALL } from './remote.ts'

const PATH_3 = 'credentials/s2-worker-3-credentials.json'
const remotes: Remote[] = []
after(() => {
  for (const remote of remotes) rmSync(remote.folder, { recursive: true })
})

/** A remote, and a sync of worker 3 whose wall clock stands at WALL. */
function scene(over: { remote?: string; timeoutMs?: number; path?: string } = {}) {
  const remote = new Remote()
  remotes.push(remote)
  const clock = { ...systemClock, wall: () => WALL }
  const mirror = new GitMirror(
    {
      folder: join(remote.folder, 'mirror'),
      remote: over.remote ?? remote.bare,
      branch: 'main',
      timeoutMs: over.timeoutMs ?? PATIENCE_MS,
    },
    { clock, env: { PATH: over.path ?? process.env.PATH, HOME: remote.folder }, signal: new AbortController().signal },
  )
  const held = new Map<string, Credential>()
  const credentials = {
    read: async () => [...held.values()],
    publish: async (credential: Credential) => void held.set(credential.session, credential),
    remove: async (credential: Credential) => void held.delete(credential.session),
  }
  return { remote, mirror, held, sync: new CredentialSync(3, { mirror, credentials, clock }) }
}

test('publishes a credential, then only what is newer', async () => {
  const { remote, sync, held } = scene()
  remote.push(PATH_3, file())
  assert.equal((await sync.look()).kind, 'published')
  assert.equal((await sync.look()).kind, 'unchanged')
  remote.push('README', 'something else')
  assert.equal((await sync.look()).kind, 'unchanged')
  remote.push(PATH_3, file({ token: 'a-new-token-for-a-test', createdAt: WALL + 1 }))
  assert.equal((await sync.look()).kind, 'published')
  assert.equal(held.get('conv_00000000000000aa/b')?.token, 'a-new-token-for-a-test')
})

test('an older credential is refused, also after the history was rewritten', async () => {
  const { remote, sync, held } = scene()
  const first = remote.push(PATH_3, file())
  remote.push(PATH_3, file({ token: 'a-new-token-for-a-test', createdAt: WALL + 1 }))
  await sync.look()
  remote.inWork('reset', '--quiet', '--hard', first)
  remote.commit()
  await assert.rejects(sync.look(), { code: 'conflict' })
  assert.equal(held.get('conv_00000000000000aa/b')?.token, 'a-new-token-for-a-test')
})

test('an unrelated history with a newer credential is followed', async () => {
  const { remote, sync } = scene()
  remote.push(PATH_3, file())
  await sync.look()
  remote.inWork('checkout', '--quiet', '--orphan', 'other')
  remote.push(PATH_3, file({ createdAt: WALL + 6, token: 'a-third-token-for-a-test' }))
  assert.equal((await sync.look()).kind, 'published')
})

test('a credential of a new conversation stands beside the old one until that expires', async () => {
  const { remote, sync, held } = scene()
  remote.push(PATH_3, file({ expiresAt: WALL + 10 }))
  await sync.look()
  remote.push(PATH_3, file({ conversation: 'conv_00000000000000bb', createdAt: WALL + 1 }))
  await sync.look()
  assert.deepEqual([...held.keys()], ['conv_00000000000000aa/b', 'conv_00000000000000bb/b'])
})

test('whatever the remote becomes, the credential at hand stays and the reason is told', async (t) => {
  const { remote, sync, held, mirror } = scene()
  remote.push(PATH_3, file())
  await sync.look()
  const path = join(remote.work, PATH_3)
  const write = (content: string, mode = 0o644): void => {
    rmSync(path, { recursive: true, force: true })
    writeFileSync(path, content, { mode })
  }
  const link = (): void => {
    rmSync(path)
    symlinkSync('/etc/passwd', path)
  }
  const folder = (): void => {
    rmSync(path)
    remote.push(`${PATH_3}/x`, 'y')
  }
  const cases: Record<string, [() => void, string]> = {
    'a symbolic link': [link, 'invalid'],
    'an executable': [() => write(file({ createdAt: WALL + 1 }), 0o755), 'invalid'],
    'a huge file': [() => write('x'.repeat(20_000)), 'too_large'],
    'an empty file': [() => write(''), 'invalid'],
    'a truncated file': [() => write(file().slice(0, 100)), 'invalid'],
    "another worker's": [() => write(file({ agent: 's2-worker-30', createdAt: WALL + 9 })), 'forbidden'],
    'an expired one': [() => write(file({ createdAt: WALL - 9, expiresAt: WALL })), 'expired'],
    'a folder in its place': [folder, 'invalid'],
    'no file': [() => rmSync(path, { recursive: true }), 'not_found'],
  }
  for (const [name, [change, code]] of Object.entries(cases)) {
    await t.test(name, async () => {
      change()
      remote.inWork('add', '--all', '.')
      remote.commit()
      await assert.rejects(sync.look(), { code })
    })
  }
  await t.test('a submodule in its place', async () => {
    remote.inWork('update-index', '--add', '--cacheinfo', `160000,${await mirror.tip()},${PATH_3}`)
    remote.commit()
    await assert.rejects(sync.look(), { code: 'invalid' })
  })
  await t.test('no branch', async () => {
    remote.inWork('push', '--quiet', remote.bare, ':refs/heads/main')
    await assert.rejects(sync.look(), { code: 'not_found' })
  })
  await t.test('no remote', async () => {
    rmSync(remote.bare, { recursive: true })
    await assert.rejects(sync.look(), { code: 'unavailable' })
  })
  assert.equal(held.get('conv_00000000000000aa/b')?.token, 'worker-token-for-a-test')
})

test('a broken mirror is made anew; what a killed git left does not stop it', async () => {
  const { remote, sync } = scene()
  remote.push(PATH_3, file())
  await sync.look()
  const mirror = join(remote.folder, 'mirror')
  writeFileSync(join(mirror, 'shallow.lock'), '')
  remote.push(PATH_3, file({ token: 'a-new-token-for-a-test', createdAt: WALL + 1 }))
  assert.equal((await sync.look()).kind, 'published')
  writeFileSync(join(mirror, 'HEAD'), 'rubbish')
  remote.push(PATH_3, file({ token: 'a-third-token-for-a-test', createdAt: WALL + 2 }))
  assert.equal((await sync.look()).kind, 'published')
  assert.ok(!readdirSync(mirror).includes('worktrees'))
})

test('a remote that never answers costs no more than the deadline', async () => {
  const sockets = new Set<{ destroy(): void }>()
  const server = createServer((socket) => void sockets.add(socket)).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const { sync } = scene({ remote: `git://127.0.0.1:${address.port}/x.git`, timeoutMs: 500 })
  await assert.rejects(sync.look(), /took too long/)
  for (const socket of sockets) socket.destroy()
  server.close()
})

test('a remote that runs programs or asks questions is refused at once', async () => {
  const ext = scene({ remote: 'ext::sh -c touch% %2' })
  await assert.rejects(ext.sync.look(), { code: 'unavailable' })
  const option = scene({ remote: `--upload-pack=touch ${join(ext.remote.folder, 'ran')}` })
  await assert.rejects(option.sync.look(), { code: 'unavailable' })
  assert.ok(!existsSync(join(ext.remote.folder, 'ran')))
})

test('a missing git is named', async () => {
  const { sync } = scene({ path: '/nonexistent' })
  await assert.rejects(sync.look(), { code: 'unavailable', next: 'install git' })
})
