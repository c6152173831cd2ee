import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { credentialPath, parseCredentialFile } from '../../../services/core/fleet/credential.ts'
import { sessionId } from '../../../services/core/fleet/session-id.ts'
import { enrolWorkers } from '../../../services/core/issuing/enrol-workers.ts'
import { GitPublisher, makeRemote } from '../../../services/core/git/git-publisher.ts'
import { systemChance, systemClock } from '../../../services/core/runtime/clock.ts'
import { publishCredential, readCredentials } from '../../../services/core/spool/credentials.ts'
import { openMemoryStore } from '../../../services/core/store/memory/memory.ts'
import { parseFleet } from '../../../services/local/parse-fleet-description.ts'
import { PATIENCE_MS } from '../../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-enlist-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const env = { PATH: process.env.PATH, HOME: folder }

const LIFETIME_MS = 3_600_000
const fleet = (role = 'tests') =>
  parseFleet(
    {
      workers: [
        { number: 1, role },
        { number: 2, role: 'docs' },
      ],
    },
    'fleet.json',
  )

async function ground(name: string) {
  const remote = join(folder, `${name}.git`)
  await makeRemote(remote, 'main', PATIENCE_MS, { clock: systemClock, env })
  const parts = { clock: systemClock, chance: systemChance, env }
  const publisher = await GitPublisher.open({ remote, branch: 'main', timeoutMs: PATIENCE_MS }, parts)
  const store = openMemoryStore({ clock: systemClock })
  const config = {
    orchestrator: 'orchestrator',
    state: join(folder, name),
    bridgeUrl: 'http://127.0.0.1:7433',
    lifetimeMs: LIFETIME_MS,
  }
  const read = async (worker: number) => {
    const content = await publisher.read(credentialPath(worker))
    assert.ok(content !== null)
    return parseCredentialFile(content, worker, Date.now())
  }
  return {
    store,
    config,
    read,
    enlist: (each = fleet(), changes = {}) =>
      enrolWorkers(each.workers, { ...config, ...changes }, { store, publisher, clock: systemClock }),
    [Symbol.asyncDispose]: () => publisher[Symbol.asyncDispose](),
  }
}

test('every worker gets a conversation and a credential in git, the orchestrator its ends on this host', async () => {
  await using g = await ground('first')
  assert.deepEqual(await g.enlist(), ['s2-worker-1', 's2-worker-2'])
  for (const worker of [1, 2]) {
    const { session, token, agent } = await g.read(worker)
    assert.equal(agent, `s2-worker-${worker}`)
    assert.deepEqual(await g.store.tokens(session), [token])
  }
  const { credentials } = await readCredentials(g.config.state)
  assert.equal(credentials.length, 2)
  for (const { session, token } of credentials) assert.deepEqual(await g.store.tokens(session), [token])
})

test('a second time nothing is opened, pushed or changed', async () => {
  await using g = await ground('again')
  await g.enlist()
  const before = await g.read(1)
  assert.deepEqual(await g.enlist(), [])
  assert.deepEqual(await g.read(1), before)
  assert.equal((await g.store.conversations()).length, 2)
})

test('what was lost or has come of age is made anew, with a serial that does not go back and an overlap', async () => {
  await using g = await ground('lost')
  await g.enlist()
  const before = await g.read(1)
  assert.deepEqual(await g.enlist(fleet(), { bridgeUrl: 'http://127.0.0.1:9999' }), ['s2-worker-1', 's2-worker-2'])
  const after = await g.read(1)
  assert.equal(after.session, before.session)
  assert.ok(after.createdAt > before.createdAt)
  assert.equal(after.bridgeUrl, 'http://127.0.0.1:9999')
  assert.deepEqual(await g.store.tokens(after.session), [after.token, before.token])
  // A file with less than half of its life left is made anew before it ends.
  assert.deepEqual(await g.enlist(fleet(), { bridgeUrl: after.bridgeUrl, lifetimeMs: 4 * LIFETIME_MS }), [
    's2-worker-1',
    's2-worker-2',
  ])
  assert.ok((await g.read(1)).expiresAt > Date.now() + 3 * LIFETIME_MS)
})

test('a worker with another role gets another conversation; ends of conversations that are over are dropped', async () => {
  await using g = await ground('role')
  await g.enlist()
  const before = await g.read(1)
  assert.deepEqual(await g.enlist(fleet('backend')), ['s2-worker-1'])
  const after = await g.read(1)
  assert.notEqual(after.session, before.session)
  assert.equal(after.role, 'backend')
  const elsewhere = { ...before, session: sessionId('conv_elsewhere', 'a'), bridgeUrl: 'https://other.example.org' }
  await publishCredential(g.config.state, elsewhere)
  await g.enlist(fleet('backend'))
  const { credentials } = await readCredentials(g.config.state)
  const live = (await g.store.conversations()).map(({ id }) => sessionId(id, 'a'))
  assert.deepEqual(credentials.map(({ session }) => session).sort(), [...live, elsewhere.session].sort())
})
