import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { GitMirror } from '#git/git-mirror.ts'
import type { HostIdentity } from '#identity/identity-file.ts'
import { MANIFEST_PATH } from '#identity/manifest.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import type { CredentialSource } from '../../services/cred-sync/credential-source.ts'
import { GitSource } from '../../services/cred-sync/git-source.ts'
import { PlainSource } from '../../services/cred-sync/plain-source.ts'
import { CredentialSync } from '../../services/cred-sync/sync-credential.ts'
import { ManualClock } from '../manual-clock.ts'
import { PATIENCE_MS, until } from '../until.ts'
import { makeFleet, PATH_3, plainFile, published, Remote, type TestFleet, WALL } from './remote.ts'

const SESSION = 'conv_00000000000000aa/b'
const MINUTES = 60_000
const remotes: Remote[] = []
let fleet: TestFleet
before(async () => {
  fleet = await makeFleet()
})
after(() => {
  for (const remote of remotes) rmSync(remote.folder, { recursive: true })
})

interface SceneOptions {
  readonly remote?: string
  readonly timeoutMs?: number
  readonly path?: string
  readonly format?: 'sha1' | 'sha256'
  readonly branch?: string
  readonly home?: string
  readonly bridge?: CredentialSource
  readonly git?: CredentialSource
  readonly clock?: Clock
  readonly identity?: () => Promise<HostIdentity | null>
}

/** A remote, and a sync of worker 3 whose wall clock stands at WALL. */
function scene(over: SceneOptions = {}) {
  const remote = new Remote(over.format)
  remotes.push(remote)
  const clock = over.clock ?? { ...systemClock, wall: () => WALL }
  const mirror = new GitMirror(
    {
      folder: join(remote.folder, 'mirror'),
      remote: over.remote ?? remote.bare,
      branch: over.branch ?? 'main',
      timeoutMs: over.timeoutMs ?? PATIENCE_MS,
    },
    { clock, env: { PATH: over.path ?? process.env.PATH, HOME: over.home ?? remote.folder } },
  )
  const held = new Map<string, Credential>()
  const credentials = {
    read: async () => [...held.values()],
    publish: async (credential: Credential) => void held.set(credential.session, credential),
    remove: async (credential: Credential) => void held.delete(credential.session),
  }
  const git = over.git ?? new GitSource({ mirror, clock })
  const bridge = over.bridge ?? { find: () => Promise.reject(new S2Error('unavailable', 'there is no bridge')) }
  const sync = new CredentialSync({
    keysFile: '/run/secrets/keys.json',
    identity: over.identity ?? (async () => fleet.host),
    sources: () => ({ git, bridge }),
    credentials,
    clock,
  })
  const token = (): string | undefined => held.get(SESSION)?.token
  return { remote, mirror, held, sync, credentials, clock, token }
}

test('publishes a credential, then only what is newer', async () => {
  const { remote, sync, token } = scene()
  remote.pushAll(await published(fleet))
  assert.equal((await sync.look()).kind, 'published')
  assert.equal((await sync.look()).kind, 'unchanged')
  remote.push('README', 'something else')
  assert.equal((await sync.look()).kind, 'unchanged')
  remote.pushAll(await published(fleet, { token: 'a-new-token-for-a-test', createdAt: WALL + 1 }))
  assert.equal((await sync.look()).kind, 'published')
  assert.equal(token(), 'a-new-token-for-a-test')
})

test('a host that has not joined is told how to', async () => {
  const { sync } = scene({ identity: async () => null })
  await assert.rejects(sync.look(), {
    code: 'not_found',
    message: /not joined a fleet: there are no keys of a worker in \/run\/secrets\/keys\.json/,
    next: /s2 worker invite.*S2_IDENTITY/,
  })
})

test('a worker that was renamed finds its file by its key', async () => {
  const { remote, sync, held } = scene()
  remote.pushAll(await published(fleet, { agent: 'gpu-box' }))
  await sync.look()
  assert.equal(held.get(SESSION)?.agent, 'gpu-box')
})

test('an older credential is refused, also after the history was rewritten', async () => {
  const { remote, sync, token } = scene()
  const first = remote.pushAll(await published(fleet))
  remote.pushAll(await published(fleet, { token: 'a-new-token-for-a-test', createdAt: WALL + 1 }))
  await sync.look()
  remote.inWork('reset', '--quiet', '--hard', first)
  remote.commit()
  await assert.rejects(sync.look(), { code: 'conflict' })
  assert.equal(token(), 'a-new-token-for-a-test')
})

test('an unrelated history with a newer credential is followed', async () => {
  const { remote, sync } = scene()
  remote.pushAll(await published(fleet))
  await sync.look()
  remote.inWork('checkout', '--quiet', '--orphan', 'other')
  remote.pushAll(await published(fleet, { createdAt: WALL + 6, token: 'a-third-token-for-a-test' }))
  assert.equal((await sync.look()).kind, 'published')
})

test('a remote that hashes by SHA-256, or changes to that, is followed', async () => {
  const { remote, sync } = scene({ format: 'sha256' })
  remote.pushAll(await published(fleet))
  assert.equal((await sync.look()).kind, 'published')
  const other = scene()
  other.remote.pushAll(await published(fleet))
  await other.sync.look()
  rmSync(other.remote.bare, { recursive: true })
  remote.pushAll(await published(fleet, { createdAt: WALL + 1 }))
  symlinkSync(remote.bare, other.remote.bare)
  assert.equal((await other.sync.look()).kind, 'published')
})

test('a tag of the same name and a stray branch refs/heads/main change nothing', async () => {
  const { remote, sync } = scene()
  const old = remote.push('README', 'old')
  remote.pushAll(await published(fleet))
  remote.inWork('push', '--quiet', remote.bare, `${old}:refs/heads/refs/heads/main`, `${old}:refs/tags/main`)
  assert.equal((await sync.look()).kind, 'published')
})

test('a path with blanks is a path', async () => {
  const { remote } = scene()
  const spaced = join(remote.folder, 'a remote with blanks.git')
  symlinkSync(remote.bare, spaced)
  const other = scene({ remote: spaced })
  remote.pushAll(await published(fleet))
  assert.equal((await other.sync.look()).kind, 'published')
})

test('what is not signed by the orchestrator, or not for this host, is refused, and the credential in force stays', async (t) => {
  const { remote, sync, token } = scene()
  remote.pushAll(await published(fleet))
  await sync.look()
  const later = { createdAt: WALL + 1, token: 'a-forged-token-for-a-test' }
  const signer = fleet.stranger
  const good = await published(fleet, later)
  const altered = (path: string, change: (text: string) => string): Record<string, string> => ({
    ...good,
    [path]: change(good[path] ?? ''),
  })
  const cases: Record<string, [Record<string, string>, string]> = {
    'another signer': [await published(fleet, later, { signer }), 'unauthenticated'],
    'sealed to another host': [await published(fleet, later, { recipient: fleet.stranger.recipient }), 'forbidden'],
    'listed for another host': [await published(fleet, later, { key: fleet.stranger.key }), 'not_found'],
    'another bridge': [await published(fleet, { ...later, bridgeUrl: 'http://127.0.0.1:9' }), 'forbidden'],
    'the year 9998': [
      await published(fleet, { ...later, createdAt: Date.UTC(9998, 0), expiresAt: Date.UTC(9998, 1) }),
      'conflict',
    ],
    'from the future by eleven minutes': [
      await published(fleet, { ...later, createdAt: WALL + 11 * MINUTES }),
      'conflict',
    ],
    expired: [
      await published(fleet, { ...later, createdAt: WALL - MINUTES, expiresAt: WALL - 1 }, { serial: WALL + 1 }),
      'conflict',
    ],
    'a list altered in one place': [
      altered(MANIFEST_PATH, (text) => text.replace('"serial": ', '"serial": 1')),
      'unauthenticated',
    ],
    'a file altered in one place': [
      altered(PATH_3, (text) => text.replace('"worker": "s2-worker-3"', '"worker": "s2-worker-4"')),
      'unauthenticated',
    ],
    'a file of another time under its list': [
      { ...good, [PATH_3]: (await published(fleet))[PATH_3] ?? '' },
      'unauthenticated',
    ],
    'a plain file in its place': [
      { ...good, [PATH_3]: plainFile({ created_at: new Date(WALL + 5).toISOString() }) },
      'unauthenticated',
    ],
  }
  for (const [name, [files, code]] of Object.entries(cases)) {
    await t.test(name, async () => {
      remote.pushAll(files)
      await assert.rejects(sync.look(), { code })
      assert.equal(token(), 'worker-token-for-a-test')
    })
  }
  await t.test('and the next good one is taken', async () => {
    remote.pushAll(await published(fleet, { createdAt: WALL + 2, token: 'an-honest-token-for-a-test' }))
    assert.equal((await sync.look()).kind, 'published')
    assert.equal(token(), 'an-honest-token-for-a-test')
  })
})

test('whatever the remote becomes, the credential at hand stays and the reason is told', async (t) => {
  const { remote, sync, token, mirror } = scene()
  remote.pushAll(await published(fleet))
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
    mkdirSync(path)
    writeFileSync(join(path, 'x'), 'y')
  }
  const sealed = (await published(fleet, { createdAt: WALL + 1 }))[PATH_3] ?? ''
  const cases: Record<string, [() => void, string]> = {
    'a symbolic link': [link, 'invalid'],
    'an executable': [() => write(sealed, 0o755), 'invalid'],
    'a huge file': [() => write('x'.repeat(70_000)), 'too_large'],
    'an empty file': [() => write(''), 'unauthenticated'],
    'a folder in its place': [folder, 'invalid'],
    'no file': [() => rmSync(path, { recursive: true }), 'not_found'],
    'no list': [() => rmSync(join(remote.work, MANIFEST_PATH)), 'not_found'],
  }
  for (const [name, [change, code]] of Object.entries(cases)) {
    await t.test(name, async () => {
      change()
      remote.inWork('add', '--all', '.')
      remote.commit()
      await assert.rejects(sync.look(), { code })
    })
  }
  remote.pushAll(await published(fleet))
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
  assert.equal(token(), 'worker-token-for-a-test')
})

test('the bridge’s copy is taken where git is away, and git is told of only when it does not just lag behind', async () => {
  const { openSealedCredential } = await import('#identity/sealed-credential.ts')
  const sealed = (await published(fleet, { createdAt: WALL + 3, token: 'a-token-from-the-bridge' }))[PATH_3] ?? ''
  const bridge: CredentialSource = {
    find: async (wanted) => await openSealedCredential(Buffer.from(sealed), { ...wanted, now: WALL }),
  }
  const { remote, sync, token } = scene({ bridge })
  remote.push('README', 'no credentials yet')
  assert.equal((await sync.look()).kind, 'published', 'the branch may lag behind the bridge')
  assert.equal(token(), 'a-token-from-the-bridge')
  await assert.rejects(sync.look(), { code: 'not_found' }, 'but not for ever')
})

test('a remote that has what the bridge had before only lags; where the bridge is away it is refused', async () => {
  let isAway = false
  const newest = { token: 'a-new-token-for-a-test', createdAt: WALL + 1 }
  const other = new Remote()
  remotes.push(other)
  other.pushAll(await published(fleet, newest))
  const clock = { ...systemClock, wall: () => WALL }
  const place = { folder: join(other.folder, 'mirror'), remote: other.bare, branch: 'main', timeoutMs: PATIENCE_MS }
  const copy = new GitSource({ mirror: new GitMirror(place, { clock, env: { PATH: process.env.PATH } }), clock })
  const bridge: CredentialSource = {
    find: async (wanted) => {
      if (isAway) throw new S2Error('unavailable', 'away')
      return await copy.find(wanted)
    },
  }
  const { remote, sync, token } = scene({ bridge })
  remote.pushAll(await published(fleet))
  await sync.look()
  assert.equal(token(), newest.token)
  remote.push('README', 'a commit of no importance')
  await sync.look()
  await assert.rejects(sync.look(), { code: 'not_found', message: /older credential than the bridge/ })
  assert.equal(sync.refusal, null, 'health tells of it, an incident does not')
  isAway = true
  await assert.rejects(sync.look(), { code: 'conflict' })
  assert.match(String(sync.refusal), /older than the one in force/)
})

test('what the bridge has is refused beside a remote that is well, and told', async () => {
  const bridge = { find: () => Promise.reject(new S2Error('unauthenticated', 'not ours')) }
  const { remote, sync, token } = scene({ bridge })
  remote.pushAll(await published(fleet))
  await assert.rejects(sync.look(), { code: 'unauthenticated' })
  assert.notEqual(token(), undefined, 'what the remote has is in force')
  assert.equal(sync.refusal?.message, 'not ours')
})

test('keys that cannot be used are no refusal of what was found', async () => {
  const broken = () => Promise.reject(new S2Error('invalid', 'the keys of this host cannot be used'))
  const { sync } = scene({ identity: broken })
  await assert.rejects(sync.look(), { code: 'invalid' })
  assert.equal(sync.refusal, null)
})

test('a remote that hangs keeps no credential of the bridge from this host, and is heard when it answers', async () => {
  const { openSealedCredential } = await import('#identity/sealed-credential.ts')
  const bridgeHas = { createdAt: WALL + 1, token: 'a-token-from-the-bridge' }
  const bridge: CredentialSource = {
    find: async (wanted) => {
      const sealed = (await published(fleet, bridgeHas))[PATH_3] ?? ''
      return await openSealedCredential(Buffer.from(sealed), { ...wanted, now: WALL })
    },
  }
  const asked = Promise.withResolvers<Credential | null>()
  let times = 0
  const git: CredentialSource = {
    find: () => {
      times += 1
      return asked.promise
    },
  }
  const clock = new ManualClock()
  clock.step(WALL - clock.wall())
  const { sync, token } = scene({ bridge, git, clock })
  const looks = [sync.look()]
  await until('it is in force', () => token() === bridgeHas.token)
  await clock.advance(10_000)
  assert.equal((await looks[0])?.kind, 'published')
  Object.assign(bridgeHas, { createdAt: WALL + 2, token: 'a-later-token-of-the-bridge' })
  looks.push(sync.look())
  await until('the next one is in force too', () => token() === bridgeHas.token)
  await clock.advance(10_000)
  await looks[1]
  const third = sync.look()
  await clock.advance(0)
  asked.resolve({ ...(await bridge.find({ identity: fleet.host, heldSerial: 0 })), createdAt: WALL } as Credential)
  assert.equal((await third).kind, 'unchanged', 'what git found is older by now')
  assert.equal(token(), bridgeHas.token)
  assert.equal(times, 1)
})

test('a mirror that somebody prepared runs no command of theirs', async () => {
  const { remote, sync } = scene()
  remote.pushAll(await published(fleet))
  await sync.look()
  remote.pushAll(await published(fleet, { createdAt: WALL + 1 }))
  const mirror = join(remote.folder, 'mirror')
  const ran = join(remote.folder, 'ran')
  const command = join(remote.folder, 'command')
  writeFileSync(command, `#!/bin/sh\ntouch '${ran}'\n`, { mode: 0o755 })
  const prepared = `[core]\n\tbare = true\n\tgitProxy = ${command}\n\tfsmonitor = ${command}\n\tsshCommand = ${command}\n\talternateRefsCommand = ${command}\n[url "git://127.0.0.1:1/"]\n\tinsteadOf = ${remote.bare}\n`
  mkdirSync(join(mirror, 'hooks'), { recursive: true })
  for (const hook of ['reference-transaction', 'post-checkout'])
    writeFileSync(join(mirror, 'hooks', hook), `#!/bin/sh\ntouch '${ran}'\n`, { mode: 0o755 })
  writeFileSync(join(mirror, 'config'), prepared)
  writeFileSync(join(mirror, 'config.worktree'), prepared)
  writeFileSync(join(mirror, 'commondir'), remote.folder)
  writeFileSync(join(remote.folder, '.gitconfig'), prepared)
  assert.equal((await sync.look()).kind, 'published')
  assert.ok(!existsSync(ran), 'a command of the prepared configuration ran')
  assert.ok(!existsSync(join(mirror, 'commondir')))
})

test('a broken mirror is made anew; what a killed git left does not stop it', async () => {
  const { remote, sync } = scene()
  remote.pushAll(await published(fleet))
  await sync.look()
  const mirror = join(remote.folder, 'mirror')
  writeFileSync(join(mirror, 'shallow.lock'), '')
  remote.pushAll(await published(fleet, { createdAt: WALL + 1 }))
  assert.equal((await sync.look()).kind, 'published')
  writeFileSync(join(mirror, 'HEAD'), 'rubbish')
  remote.pushAll(await published(fleet, { createdAt: WALL + 2 }))
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

test('a plain file of the older scripts is read where that is allowed, and never a vendor’s login', async () => {
  const { remote, mirror, clock, credentials, held, token } = scene()
  const plain = new PlainSource(3, mirror, clock)
  const look = (): Promise<unknown> => CredentialSync.put(plain, credentials)
  remote.push(PATH_3, plainFile())
  await look()
  assert.equal(token(), 'worker-token-for-a-test')
  assert.ok(!JSON.stringify([...held.values()]).includes('coordinator'), 'the orchestrator’s token is not kept')
  remote.push(PATH_3, plainFile({ created_at: new Date(WALL - 1).toISOString() }))
  await assert.rejects(look(), { code: 'conflict' })
  remote.push(PATH_3, JSON.stringify({ claudeAiOauth: { refreshToken: 'x'.repeat(40) } }))
  await assert.rejects(look(), { code: 'forbidden', next: /log the agent in on its own host/ })
})
