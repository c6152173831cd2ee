import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { credentialPath } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { sessionId } from '#fleet/session-id.ts'
import { joinRequestId } from '#fleet/worker.ts'
import { GitPublisher, makeRemote } from '#git/git-publisher.ts'
import { type HostIdentity, makeIdentity } from '#identity/identity-file.ts'
import { makeJoinRequest, makeSecret } from '#identity/joining.ts'
import { MANIFEST_PATH, readManifest } from '#identity/manifest.ts'
import { openSealedCredential, sealCredential } from '#identity/sealed-credential.ts'
import { Issuer } from '#issuing/issuer.ts'
import { filesInState } from '#issuing/issuer-files.ts'
import { type Clock, systemChance, systemClock } from '#runtime/clock.ts'
import { readCredentials, removeCredential } from '#spool/credentials.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { MovableClock } from '../../movable-clock.ts'
import { PATIENCE_MS } from '../../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-issuer-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const env = { PATH: process.env.PATH, HOME: folder }

const LIFETIME_MS = 3 * 3_600_000
const DAY_MS = 86_400_000
const BRIDGE = 'http://127.0.0.1:7433'

/** An orchestrator's host with an issuer, a git remote, and a worker that may join. */
async function ground(name: string, { withGit = true } = {}) {
  const clock = new MovableClock(systemClock)
  const remote = join(folder, `${name}.git`)
  const parts = { clock: systemClock, chance: systemChance, env }
  await makeRemote(remote, 'main', PATIENCE_MS, { clock: systemClock, env })
  const publisher = withGit ? await GitPublisher.open({ remote, branch: 'main', timeoutMs: PATIENCE_MS }, parts) : null
  const store = openMemoryStore({ clock })
  const identity: HostIdentity = { ...(await makeIdentity()), membership: null }
  const state = join(folder, name)
  const config = {
    orchestrator: 'orchestrator',
    access: async () => ({ bridgeUrl: BRIDGE }),
    lifetimeMs: LIFETIME_MS,
    overlapMs: 600_000,
  }
  const makeIssuer = (changes: object = {}, issuersClock: Clock = clock): Issuer =>
    new Issuer(
      { ...config, ...changes },
      { store, publisher, identity, files: filesInState(state), seal: sealCredential, clock: issuersClock },
    )
  const keysOf = async (agent: string): Promise<HostIdentity> => ({
    ...(await makeIdentity()),
    membership: { agent, orchestrator: identity, bridgeUrl: BRIDGE, remote: null, branch: 'main' },
  })
  const admit = async (agent: string, { key, recipient }: HostIdentity) =>
    await store.admitWorker({
      agent,
      key,
      recipient,
      host: 'box',
      secretHash: null,
      role: 'tests',
      orchestrator: 'orchestrator',
      lifetimeMs: LIFETIME_MS,
    })
  const fetched = async (keys: HostIdentity, heldSerial = 0) => {
    const file = await store.publishedCredential(keys.key)
    assert.ok(file !== null, 'the bridge has a credential')
    return await openSealedCredential(Buffer.from(file), { identity: keys, now: clock.wall(), heldSerial })
  }
  const inGit = (...args: string[]): string =>
    execFileSync('git', ['--git-dir', remote, ...args], { env, encoding: 'utf8' })
  const gitTold = (input: string, ...args: string[]): string => {
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '--git-dir', remote]
    return execFileSync('git', [...who, ...args], { env, encoding: 'utf8', input }).trim()
  }
  const invite = async (agent: string) => {
    const { secret, secretHash } = makeSecret()
    const endsAt = clock.wall() + 60_000
    await store.inviteWorker({ agent, role: 'tests', secretHash, endsAt })
    return { agent, orchestrator: identity, bridgeUrl: BRIDGE, remote, branch: 'main', secret, endsAt }
  }
  const close = async (): Promise<void> => await publisher?.[Symbol.asyncDispose]()
  const shared = { clock, store, identity, state, remote, publisher }
  return { ...shared, makeIssuer, keysOf, admit, fetched, inGit, gitTold, invite, [Symbol.asyncDispose]: close }
}

test('an admitted worker has a sealed credential at the bridge and in git, and the orchestrator its end here', async () => {
  await using g = await ground('first')
  const keys = await g.keysOf('s2-worker-1')
  const { conversation } = await g.admit('s2-worker-1', keys)
  const issuer = g.makeIssuer()
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  assert.deepEqual((await issuer.publish()).foreign, [])
  const credential = await g.fetched(keys)
  assert.deepEqual(await g.store.tokens(sessionId(conversation ?? '', 'b')), [credential.token])
  const file = Buffer.from(g.inGit('show', `main:${credentialPath('s2-worker-1')}`))
  const opened = await openSealedCredential(file, { identity: keys, now: g.clock.wall(), heldSerial: 0 })
  assert.equal(opened.token, credential.token)
  const [own] = (await readCredentials(g.state)).credentials
  assert.deepEqual(await g.store.tokens(sessionId(conversation ?? '', 'a')), [own?.token])
  for (const token of [credential.token, own?.token ?? '']) {
    assert.ok(!g.inGit('log', '-p', '--all').includes(token), 'no living token is in git')
  }
  const commits = g.inGit('rev-list', '--count', 'main')
  assert.deepEqual((await issuer.round()).issued, [])
  await issuer.publish()
  await g.makeIssuer().publish()
  assert.equal(g.inGit('rev-list', '--count', 'main'), commits, 'what is there already is not published again')
})

test('the end of another bridge’s agent is not kept here, and its token stays, whenever the worker’s is made anew', async () => {
  await using g = await ground('adopted', { withGit: false })
  const roles = { a: 'boss', b: 'worker-1-tests' }
  const agents = { a: 'boss', b: 'script' }
  const { id, tokens } = await g.store.openConversation({ roles, agents, lifetimeMs: LIFETIME_MS })
  const { secretHash } = makeSecret()
  const endsAt = g.clock.wall() + 60_000
  await g.store.inviteWorker({ agent: 's2-worker-1', role: 'tests', secretHash, endsAt, conversation: id })
  const issuer = g.makeIssuer()
  assert.deepEqual((await issuer.round()).issued, [], 'it has not joined')
  const keys = await g.keysOf('s2-worker-1')
  await g.admit('s2-worker-1', keys)
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  assert.equal((await g.fetched(keys)).session, sessionId(id, 'b'))
  g.clock.pass(LIFETIME_MS / 2)
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  assert.deepEqual(await g.store.tokens(sessionId(id, 'a')), [tokens.a])
  assert.deepEqual((await readCredentials(g.state)).credentials, [])
})

test('a worker that was away for days has a living credential when it returns, with its conversation', async () => {
  await using g = await ground('away', { withGit: false })
  const keys = await g.keysOf('s2-worker-1')
  const { conversation } = await g.admit('s2-worker-1', keys)
  await g.makeIssuer().round()
  const before = await g.fetched(keys)
  // The orchestrator's host was down as well: its issuer begins anew, after the conversation has lapsed.
  g.clock.pass(3 * DAY_MS)
  await g.makeIssuer().round()
  const after = await g.fetched(keys, before.createdAt)
  assert.equal(after.session, sessionId(conversation ?? '', 'b'))
  assert.deepEqual(await g.store.tokens(after.session), [after.token])
  assert.notEqual(after.token, before.token)
})

test('tokens of both ends are made anew at half of their life, on schedule, and when the bridge moves', async () => {
  await using g = await ground('rotation', { withGit: false })
  const keys = await g.keysOf('s2-worker-1')
  await g.admit('s2-worker-1', keys)
  let issuer = g.makeIssuer()
  await issuer.round()
  const first = await g.fetched(keys)
  const ownFirst = (await readCredentials(g.state)).credentials[0]?.token
  g.clock.pass(LIFETIME_MS / 2 - 60_000)
  assert.deepEqual((await issuer.round()).issued, [])
  g.clock.pass(60_000)
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  const second = await g.fetched(keys, first.createdAt)
  assert.deepEqual(await g.store.tokens(second.session), [second.token, first.token], 'the old token overlaps')
  assert.notEqual((await readCredentials(g.state)).credentials[0]?.token, ownFirst)
  g.clock.pass(1)
  issuer.rotateAll()
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  assert.deepEqual((await issuer.round()).issued, [])
  issuer = g.makeIssuer({ access: async () => ({ bridgeUrl: 'http://127.0.0.1:7434' }) })
  g.clock.pass(1)
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  await assert.rejects(g.fetched(keys), { code: 'forbidden' }, 'a host keeps to the bridge that it was invited to')
})

test('each worker is told of its credential once it is there, and waits for no other’s', async () => {
  await using g = await ground('hinted', { withGit: false })
  for (const agent of ['s2-worker-1', 's2-worker-2']) await g.admit(agent, await g.keysOf(agent))
  const done: string[] = []
  const { notePublished } = g.store
  g.store.notePublished = async (agent, ...rest) => {
    await notePublished.call(g.store, agent, ...rest)
    done.push(`${agent} published`)
  }
  g.store.hintCredentials = async (ids) => {
    const told = (await g.store.conversations()).filter(({ id }) => ids.includes(id))
    done.push(...told.map(({ agents }) => `${agents.b} told`))
  }
  await g.makeIssuer().round()
  assert.deepEqual(done, ['s2-worker-1 published', 's2-worker-1 told', 's2-worker-2 published', 's2-worker-2 told'])
})

test('one worker that nothing can be sealed to keeps no other from its credential', async () => {
  await using g = await ground('poisoned', { withGit: false })
  const keys = await g.keysOf('s2-worker-2')
  await g.admit('s2-worker-1', { ...(await g.keysOf('s2-worker-1')), recipient: `age1${'q'.repeat(58)}` })
  await g.admit('s2-worker-2', keys)
  await assert.rejects(g.makeIssuer().round(), 'it is told')
  assert.equal((await g.fetched(keys)).agent, 's2-worker-2')
})

test('its own ends are read anew each minute and when the registry changes, and not in each round', async () => {
  await using g = await ground('own ends', { withGit: false })
  let aheadMs = 0
  const clock: Clock = { ...systemClock, wall: () => g.clock.wall(), now: () => systemClock.now() + aheadMs }
  const issuer = g.makeIssuer({}, clock)
  const lose = async (): Promise<void> => {
    for (const { session } of (await readCredentials(g.state)).credentials) await removeCredential(g.state, session)
  }
  const count = async (): Promise<number> => (await readCredentials(g.state)).credentials.length
  await g.admit('s2-worker-1', await g.keysOf('s2-worker-1'))
  await issuer.round()
  assert.equal(await count(), 1)
  await lose()
  await issuer.round()
  assert.equal(await count(), 0, 'no look at the folder')
  aheadMs += 60_000
  await issuer.round()
  assert.equal(await count(), 1, 'a minute has passed')
  await lose()
  const { conversation } = await g.admit('s2-worker-2', await g.keysOf('s2-worker-2'))
  await issuer.round()
  assert.equal(await count(), 2, 'the registry has changed')
  await g.store.endConversation(conversation ?? '')
  await issuer.round()
  assert.equal(await count(), 2, 'a worker gets a conversation again')
  await g.store.revokeWorker('s2-worker-2')
  await issuer.round()
  assert.equal(await count(), 1)
})

test('a rotation is one, though the clock is put back after it was asked for', async () => {
  await using g = await ground('clock', { withGit: false })
  await g.admit('s2-worker-1', await g.keysOf('s2-worker-1'))
  const issuer = g.makeIssuer()
  await issuer.round()
  issuer.rotateAll()
  g.clock.pass(-600_000)
  assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
  assert.deepEqual((await issuer.round()).issued, [])
})

test('a moved bridge is in all credentials, though the first round after it was cut short', async () => {
  await using g = await ground('moved', { withGit: false })
  await g.admit('s2-worker-1', await g.keysOf('s2-worker-1'))
  await g.makeIssuer().round()
  const access = async () => ({ bridgeUrl: 'http://127.0.0.1:7434' })
  const { issueTokens } = g.store
  g.store.issueTokens = () => Promise.reject(new S2Error('unavailable', 'the power is cut'))
  await assert.rejects(g.makeIssuer({ access }).round(), { code: 'unavailable' })
  g.store.issueTokens = issueTokens
  assert.deepEqual((await g.makeIssuer({ access }).round()).issued, ['s2-worker-1'])
})

test('a look at git amid a rotation leaves nothing unpublished, and blames nobody', async () => {
  await using g = await ground('amid')
  await g.admit('s2-worker-1', await g.keysOf('s2-worker-1'))
  const issuer = g.makeIssuer()
  await issuer.round()
  await issuer.publish()
  g.clock.pass(1)
  await g.store.issueTokens('s2-worker-1', 600_000, LIFETIME_MS)
  assert.equal((await issuer.publish()).wasAltered, false)
  await issuer.round()
  assert.equal(issuer.hasUnpublished, true)
  assert.equal((await issuer.publish()).wasAltered, false)
  assert.equal(issuer.hasUnpublished, false)
})

test('revoking removes the file and the entry; a foreign file shows', async () => {
  await using g = await ground('revoked')
  const [one, two] = [await g.keysOf('s2-worker-1'), await g.keysOf('s2-worker-2')]
  await g.admit('s2-worker-1', one)
  await g.admit('s2-worker-2', two)
  const issuer = g.makeIssuer()
  await issuer.round()
  await issuer.publish()
  await g.store.revokeWorker('s2-worker-1')
  await issuer.round()
  assert.equal(issuer.hasUnpublished, true)
  await g.publisher?.publish(new Map([['credentials/stray.json', '{}']]), 'somebody')
  const { foreign } = await issuer.publish()
  assert.deepEqual(foreign, ['credentials/stray.json'])
  assert.ok(!g.inGit('ls-tree', '-r', '--name-only', 'main').includes('s2-worker-1'))
  const list = readManifest(Buffer.from(g.inGit('show', `main:${MANIFEST_PATH}`)), g.identity.key)
  assert.deepEqual(
    list.files.map(({ key }) => key),
    [two.key],
  )
  assert.equal((await readCredentials(g.state)).credentials.length, 1, 'the orchestrator’s end is gone as well')
})

test('a plain credential of the version before is told as one, with the role of its worker', async () => {
  await using g = await ground('plain')
  const roles = { a: 'orchestrator', b: 'backend' }
  await g.store.openConversation({ roles, agents: { a: 'orchestrator', b: 's2-worker-2' }, lifetimeMs: LIFETIME_MS })
  const plain = JSON.stringify({ conversation_id: 'conv_0123456789abcdef', ['worker' + '_token']: 'x'.repeat(64) })
  const files = new Map([
    [credentialPath('s2-worker-2'), plain],
    [credentialPath('s2-worker-3'), plain],
  ])
  await g.publisher?.publish(files, 'the version before')
  const issuer = g.makeIssuer()
  await issuer.round()
  const found = await issuer.publish()
  assert.deepEqual(found.plain, [{ agent: 's2-worker-2', role: 'backend' }])
  assert.deepEqual(found.foreign, [credentialPath('s2-worker-3')], 'of nobody who is known here')
  assert.ok(
    g.inGit('ls-tree', '-r', '--name-only', 'main').includes('s2-worker-2'),
    'it stays until its host has joined',
  )
  await g.admit('s2-worker-2', await g.keysOf('s2-worker-2'))
  await issuer.round()
  assert.deepEqual((await issuer.publish()).plain, [])
})

test('what somebody did to the branch is mended', async () => {
  await using g = await ground('mended')
  const keys = await g.keysOf('s2-worker-1')
  await g.admit('s2-worker-1', keys)
  const issuer = g.makeIssuer()
  await issuer.round()
  await issuer.publish()
  const path = credentialPath('s2-worker-1')
  const good = g.inGit('show', `main:${path}`)
  const spoilt = new Map([
    [path, 'rubbish'],
    [MANIFEST_PATH, '{}'],
  ])
  await g.publisher?.publish(spoilt, 'somebody')
  assert.equal((await issuer.publish()).wasAltered, true, 'it is told')
  assert.equal((await issuer.publish()).wasAltered, false, 'and is over')
  assert.equal(g.inGit('show', `main:${path}`), good)
  g.inGit('update-ref', '-d', 'refs/heads/main')
  await issuer.publish()
  assert.equal(g.inGit('show', `main:${path}`), good)
})

test('what somebody wrote between a look and its publication is told, though it is gone at once', async () => {
  await using g = await ground('between')
  const { publisher } = g
  assert.ok(publisher !== null)
  await g.admit('s2-worker-1', await g.keysOf('s2-worker-1'))
  const issuer = g.makeIssuer()
  await issuer.round()
  await issuer.publish()
  g.clock.pass(1)
  await g.store.issueTokens('s2-worker-1', 600_000, LIFETIME_MS)
  await issuer.round()
  const look = publisher.snapshot.bind(publisher)
  publisher.snapshot = async () => {
    const seen = await look()
    await publisher.publish(new Map([[MANIFEST_PATH, '{}']]), 'somebody')
    return seen
  }
  assert.equal((await issuer.publish()).wasAltered, true)
  publisher.snapshot = look
  assert.equal((await issuer.publish()).wasAltered, false)
})

test('an older list that somebody put back is replaced: hosts that have seen a later one refuse it', async () => {
  await using g = await ground('put-back')
  await g.admit('s2-worker-1', await g.keysOf('s2-worker-1'))
  const issuer = g.makeIssuer()
  await issuer.round()
  await issuer.publish()
  const serial = (): number =>
    readManifest(Buffer.from(g.inGit('show', `main:${MANIFEST_PATH}`)), g.identity.key).serial
  const first = g.inGit('rev-parse', 'main').trim()
  await g.publisher?.publish(new Map([[MANIFEST_PATH, '{}']]), 'somebody')
  await issuer.publish()
  const seen = serial()
  g.inGit('update-ref', 'refs/heads/main', first)
  assert.ok(serial() < seen)
  assert.equal((await issuer.publish()).wasAltered, true)
  assert.ok(serial() > seen)
  const settled = g.inGit('rev-parse', 'main')
  await issuer.publish()
  assert.equal(g.inGit('rev-parse', 'main'), settled, 'and then it stays')
})

test('whatever somebody puts in the place of what was published, it is mended and told', async (t) => {
  await using g = await ground('spoilt')
  const keys = await g.keysOf('s2-worker-1')
  await g.admit('s2-worker-1', keys)
  const issuer = g.makeIssuer()
  const path = credentialPath('s2-worker-1')
  const spoil = (entries: readonly (readonly [mode: string, object: string, name: string])[]): void => {
    const tree = g.gitTold(entries.map(([mode, object, name]) => `${mode} ${object}\t${name}\n`).join(''), 'mktree')
    const commit = g.gitTold('', 'commit-tree', tree, '-m', 'somebody')
    g.inGit('update-ref', 'refs/heads/main', commit)
  }
  const blob = (text: string): string => g.gitTold(text, 'hash-object', '-w', '--stdin')
  const folderOf = (name: string, entry: string): string => g.gitTold(`${entry}\t${name}\n`, 'mktree')
  const huge = blob('x'.repeat(5_000_000))
  const inside = `040000 tree ${folderOf('inside', `100644 blob ${blob('{}')}`)}`
  const [list, file] = [MANIFEST_PATH, path].map((each) => each.replace('credentials/', ''))
  const kinds = new Map([
    ['a huge list', () => spoil([['040000 tree', folderOf(list ?? '', `100644 blob ${huge}`), 'credentials']])],
    ['a folder for the list', () => spoil([['040000 tree', folderOf(list ?? '', inside), 'credentials']])],
    ['a folder for a credential', () => spoil([['040000 tree', folderOf(file ?? '', inside), 'credentials']])],
    [
      'a link for the list',
      () => spoil([['040000 tree', folderOf(list ?? '', `120000 blob ${blob('/etc/passwd')}`), 'credentials']]),
    ],
    ['a file for the folder', () => spoil([['100644 blob', blob('x'), 'credentials']])],
    ['an empty branch', () => spoil([['040000 tree', g.gitTold('', 'mktree'), 'credentials']])],
  ])
  await issuer.round()
  await issuer.publish()
  const good = g.inGit('show', `main:${path}`)
  for (const [what, put] of kinds) {
    await t.test(what, async () => {
      put()
      assert.equal((await issuer.publish()).wasAltered, true, 'it is told')
      assert.equal(g.inGit('show', `main:${path}`), good)
      assert.equal(readManifest(Buffer.from(g.inGit('show', `main:${MANIFEST_PATH}`)), g.identity.key).files.length, 1)
      assert.equal((await issuer.publish()).wasAltered, false, 'and is over')
    })
  }
  await t.test('while new credentials are made', async () => {
    await g.publisher?.publish(new Map([[path, 'rubbish']]), 'somebody')
    issuer.rotateAll()
    g.clock.offsetMs += 1_000
    assert.deepEqual((await issuer.round()).issued, ['s2-worker-1'])
    assert.equal((await issuer.publish()).wasAltered, true)
  })
  await t.test('and not where somebody only added a file of theirs', async () => {
    await g.publisher?.publish(new Map([['README', 'ours']]), 'somebody')
    issuer.rotateAll()
    g.clock.offsetMs += 1_000
    await issuer.round()
    assert.equal((await issuer.publish()).wasAltered, false)
    assert.equal(g.inGit('show', 'main:README'), 'ours')
  })
})

test('a request to join is judged over the bridge and over git alike, and has an outcome', async (t) => {
  await using g = await ground('joining')
  const issuer = g.makeIssuer()
  await t.test('over the bridge', async () => {
    const keys = await g.keysOf('s2-worker-1')
    const { sealed } = await makeJoinRequest(await g.invite('s2-worker-1'), keys, 'box')
    const id = await g.store.submitJoin(sealed)
    assert.deepEqual((await issuer.round()).admitted, ['s2-worker-1'])
    assert.equal((await g.store.joinOutcome(id)).state, 'admitted')
    assert.equal((await g.fetched(keys)).agent, 's2-worker-1')
  })
  await t.test('over a ref of the remote, which is removed then', async () => {
    const keys = await g.keysOf('s2-worker-2')
    const { id, sealed } = await makeJoinRequest(await g.invite('s2-worker-2'), keys, 'box')
    const parts = { clock: systemClock, chance: systemChance, env }
    await using host = await GitPublisher.open({ remote: g.remote, branch: 'main', timeoutMs: PATIENCE_MS }, parts)
    await host.leaveRequest(id, sealed)
    await host.leaveRequest(joinRequestId('rubbish'), 'rubbish')
    await host.leaveRequest('f'.repeat(64), 'x'.repeat(9_000))
    await host.leaveRequest('no-hash-at-all', 'x')
    const { admitted, refused } = await issuer.publish()
    assert.deepEqual(admitted, ['s2-worker-2'])
    assert.equal(refused.length, 1, 'what is no request is refused, and harms nobody')
    assert.equal(g.inGit('for-each-ref', 'refs/s2'), '')
    await issuer.round()
    await issuer.publish()
    assert.ok(g.inGit('ls-tree', '-r', '--name-only', 'main').includes(credentialPath('s2-worker-2')))
  })
  await t.test('a ref under the name of a request that waits at the bridge settles nothing', async () => {
    const { id, sealed } = await makeJoinRequest(await g.invite('s2-worker-4'), await g.keysOf('s2-worker-4'), 'box')
    await g.store.submitJoin(sealed)
    await g.publisher?.leaveRequest(id, 'other rubbish') // the same would be the commit that this repository has fetched
    assert.deepEqual((await issuer.publish()).refused, [])
    assert.deepEqual((await issuer.round()).admitted, ['s2-worker-4'])
  })
  await t.test('and a bad one is refused with its reason', async () => {
    const keys = await g.keysOf('s2-worker-3')
    const stolen = { ...(await g.invite('s2-worker-3')), secret: makeSecret().secret }
    const id = await g.store.submitJoin((await makeJoinRequest(stolen, keys, 'box')).sealed)
    const rubbish = await g.store.submitJoin('AAAA')
    const { admitted, refused } = await issuer.round()
    assert.deepEqual(admitted, [])
    assert.equal(refused.length, 2)
    assert.match((await g.store.joinOutcome(id)).why ?? '', /no such invitation/)
    assert.equal((await g.store.joinOutcome(rubbish)).state, 'refused')
  })
})
