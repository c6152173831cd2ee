/** What a look for this host's credential comes to, by two sources that answer as the test says, and a clock that it moves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Credential } from '#fleet/credential.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { HostIdentity } from '#identity/identity-file.ts'
import { OlderCredential } from '#identity/sealed-credential.ts'
import type { CredentialSource, SourceQuery } from '../../services/cred-sync/credential-source.ts'
import { CredentialSync, type SyncOutcome } from '../../services/cred-sync/sync-credential.ts'
import { ManualClock, settle } from '../manual-clock.ts'

const SESSION = sessionId('conv_0123456789abcdef', 'b')
const OTHER = sessionId('conv_fedcba9876543210', 'b')

function hostOf(key = 'key'): HostIdentity {
  const identity = { key, recipient: 'r', signingKey: 's', ageKey: 'a' }
  const orchestrator = { key: 'o', recipient: 'r' }
  const bridgeUrl = 'https://bridge.test'
  return { ...identity, membership: { agent: 's2-worker-1', orchestrator, bridgeUrl, remote: null, branch: 'main' } }
}

/** Answers what `answer` says, and notes what it is asked. */
class Source implements CredentialSource {
  readonly asked: SourceQuery[] = []
  answer: () => Promise<Credential | null> = async () => null

  find(wanted: SourceQuery): Promise<Credential | null> {
    this.asked.push(wanted)
    return this.answer()
  }

  has(credential: Credential | null): void {
    this.answer = async () => credential
  }

  fails(error: Error): void {
    this.answer = () => Promise.reject(error)
  }

  refuses(code: Code): void {
    this.fails(new S2Error(code, `${code} of this source`))
  }
}

class Scene {
  readonly clock = new ManualClock()
  readonly git = new Source()
  readonly bridge = new Source()
  source: CredentialSource | null = this.git
  identity: HostIdentity | null = hostOf()
  readonly held = new Map<SessionId, Credential>()
  published = 0
  readonly credentials = {
    read: async () => [...this.held.values()],
    publish: async (credential: Credential) => {
      this.published += 1
      this.held.set(credential.session, credential)
    },
    remove: async ({ session }: Credential) => void this.held.delete(session),
  }
  readonly sync = new CredentialSync({
    keysFile: '/state/keys.json',
    identity: async () => this.identity,
    sources: () => ({ git: this.source, bridge: this.bridge }),
    credentials: this.credentials,
    clock: this.clock,
  })

  credential(serial: number, over: Partial<Credential> = {}): Credential {
    const at = { createdAt: serial, expiresAt: this.clock.wall() + 3_600_000 }
    const who = { session: SESSION, token: `token ${serial}`, agent: 's2-worker-1', role: 'tests' }
    return { ...who, bridgeUrl: 'https://bridge.test', ...at, ...over }
  }

  hold(...credentials: readonly Credential[]): void {
    for (const each of credentials) this.held.set(each.session, each)
  }

  get serials(): number[] {
    return [...this.held.values()].map(({ createdAt }) => createdAt)
  }

  async look(): Promise<SyncOutcome['kind']> {
    return (await this.sync.look()).kind
  }
}

test('a host without keys of a worker has not joined, and asks nobody', async () => {
  for (const identity of [null, { ...hostOf(), membership: null }]) {
    const scene = new Scene()
    scene.identity = identity
    await assert.rejects(scene.look(), { code: 'not_found', message: /not joined.* in \/state\/keys\.json/ })
    assert.deepEqual([scene.git.asked, scene.bridge.asked], [[], []])
  }
})

test('a newer credential of either source is put in force once, and both are told what is held', async () => {
  for (const name of ['git', 'bridge'] as const) {
    const scene = new Scene()
    scene.hold(scene.credential(5))
    scene[name].has(scene.credential(7))
    assert.equal(await scene.look(), 'published', name)
    assert.equal(scene.held.get(SESSION)?.token, 'token 7')
    assert.equal(await scene.look(), 'unchanged')
    assert.equal(scene.published, 1)
    for (const source of [scene.git, scene.bridge]) {
      assert.deepEqual(
        source.asked.map(({ heldSerial }) => heldSerial),
        [5, 7],
      )
      assert.equal(source.asked[0]?.identity, scene.identity)
    }
    assert.equal(scene.sync.refusal, null)
  }
})

test('of two sources the newer one counts, whichever answers first', async () => {
  for (const [git, bridge] of [
    [7, 8],
    [8, 7],
  ] as const) {
    const scene = new Scene()
    scene.git.has(scene.credential(git))
    scene.bridge.has(scene.credential(bridge))
    assert.equal(await scene.look(), 'published')
    assert.deepEqual(scene.serials, [8])
    assert.equal(await scene.look(), 'unchanged')
    assert.deepEqual(scene.serials, [8])
  }
})

test('one of the same serial is put in force where it says something else', async () => {
  const scene = new Scene()
  scene.hold(scene.credential(5))
  scene.bridge.has(scene.credential(5, { bridgePin: 'pin' }))
  assert.equal(await scene.look(), 'published')
  assert.equal(scene.held.get(SESSION)?.bridgePin, 'pin')
})

test('a credential that is older than any held one is not put in force', async () => {
  const scene = new Scene()
  scene.hold(scene.credential(9, { session: OTHER }))
  scene.bridge.has(scene.credential(8))
  assert.equal(await scene.look(), 'unchanged')
  assert.deepEqual(scene.serials, [9])
})

test('a host without a remote looks at the bridge alone', async () => {
  const scene = new Scene()
  scene.source = null
  scene.bridge.has(scene.credential(7))
  assert.equal(await scene.look(), 'published')
  scene.bridge.refuses('unavailable')
  await assert.rejects(scene.look(), { code: 'unavailable' })
  assert.deepEqual(scene.serials, [7])
  assert.equal(scene.sync.refusal, null, 'what may pass by itself is no refusal')
})

test('a remote that answers makes up for a bridge that is away, and not for one that refuses', async () => {
  const scene = new Scene()
  scene.git.has(scene.credential(7))
  for (const code of ['unavailable', 'rate_limited', 'not_found', 'internal'] as const) {
    scene.bridge.refuses(code)
    await scene.look()
    assert.equal(scene.sync.refusal, null, code)
  }
  assert.deepEqual(scene.serials, [7])
  for (const code of ['unauthenticated', 'forbidden', 'conflict', 'expired', 'too_large', 'invalid'] as const) {
    scene.bridge.refuses(code)
    await assert.rejects(scene.look(), { code, message: `${code} of this source` })
    assert.equal(scene.sync.refusal?.code, code)
  }
  scene.bridge.has(null)
  assert.equal(await scene.look(), 'unchanged')
  assert.equal(scene.sync.refusal, null)
})

test('a remote that is wrong is told at once, though the bridge is right, and before what the bridge says', async () => {
  const scene = new Scene()
  scene.bridge.has(scene.credential(7))
  for (const code of ['unauthenticated', 'unavailable', 'invalid'] as const) {
    scene.git.refuses(code)
    await assert.rejects(scene.look(), { code })
    assert.equal(scene.sync.refusal?.code ?? null, code === 'unavailable' ? null : code)
  }
  assert.deepEqual(scene.serials, [7], 'what the bridge has is in force all the same')
  scene.bridge.refuses('forbidden')
  await assert.rejects(scene.look(), { code: 'invalid' })
  assert.equal(scene.sync.refusal?.code, 'invalid')
  scene.git.refuses('unavailable')
  await assert.rejects(scene.look(), { code: 'unavailable' })
  assert.equal(scene.sync.refusal?.code, 'forbidden', 'which would be hidden by a remote that is only away')
})

test('a remote that only lags behind the bridge is told from the second look in a row on', async () => {
  for (const lag of [new S2Error('not_found', 'lags'), new OlderCredential('conflict', 'older')]) {
    const scene = new Scene()
    scene.bridge.has(scene.credential(7))
    scene.git.fails(lag)
    assert.equal(await scene.look(), 'published')
    for (let again = 0; again < 2; again += 1) await assert.rejects(scene.look(), { code: 'not_found' })
    assert.equal(scene.sync.refusal, null)
    scene.git.has(null)
    await scene.look()
    scene.git.fails(lag)
    assert.equal(await scene.look(), 'unchanged', 'an answer between begins the count anew')
    await assert.rejects(scene.look(), { code: 'not_found' })
  }
})

test('where the bridge is away, a remote that has nothing, or an older one, is told at once', async () => {
  const scene = new Scene()
  scene.bridge.refuses('unavailable')
  scene.git.refuses('not_found')
  await assert.rejects(scene.look(), { code: 'not_found', message: 'not_found of this source' })
  scene.git.fails(new OlderCredential('conflict', 'older'))
  await assert.rejects(scene.look(), { code: 'conflict' })
  assert.equal(scene.sync.refusal?.code, 'conflict')
})

test('a remote that hangs keeps no host from the bridge: a look waits ten seconds, and the next goes on with it', async () => {
  const scene = new Scene()
  scene.hold(scene.credential(5))
  const answer = Promise.withResolvers<Credential>()
  scene.git.answer = () => answer.promise
  const ends: string[] = []
  const first = scene.look().then((kind) => ends.push(kind))
  await scene.clock.advance(9_999)
  assert.deepEqual(ends, [])
  await scene.clock.advance(1)
  await first
  assert.deepEqual(ends, ['waiting'])
  scene.bridge.has(scene.credential(6))
  const second = scene.look()
  await scene.clock.advance(10_000)
  assert.equal(await second, 'published')
  assert.equal(scene.git.asked.length, 1, 'it is asked once')
  answer.resolve(scene.credential(7))
  assert.equal(await scene.look(), 'published')
  assert.deepEqual(scene.serials, [7])
  scene.git.has(null)
  await scene.look()
  assert.equal(scene.git.asked.length, 2, 'and anew after its answer')
})

test('while the remote hangs, a refusal that was told stays told', async () => {
  const scene = new Scene()
  scene.git.refuses('invalid')
  await assert.rejects(scene.look(), { code: 'invalid' })
  scene.git.answer = () => new Promise(() => undefined)
  const look = scene.look()
  await scene.clock.advance(10_000)
  assert.equal(await look, 'waiting')
  assert.equal(scene.sync.refusal?.code, 'invalid')
})

test('what another remote answers, or another host was told, counts no more; the new one is asked after it', async () => {
  for (const change of ['remote', 'keys'] as const) {
    const scene = new Scene()
    const answer = Promise.withResolvers<Credential>()
    scene.git.answer = () => answer.promise
    const first = scene.look()
    await scene.clock.advance(10_000)
    assert.equal(await first, 'waiting')
    const next = new Source()
    next.has(scene.credential(6))
    if (change === 'remote') scene.source = next
    else {
      scene.identity = hostOf('another key')
      scene.git.answer = next.answer
    }
    const asked = change === 'remote' ? next.asked : scene.git.asked
    const before = asked.length
    const second = scene.look()
    await settle()
    assert.equal(asked.length, before, 'two never work in one folder')
    answer.resolve(scene.credential(9))
    assert.equal(await second, 'published')
    assert.deepEqual(scene.serials, [6], change)
    assert.equal(asked.at(-1)?.identity, scene.identity)
  }
})

test('a credential of another conversation goes when it has expired and a newer one is held', async () => {
  const scene = new Scene()
  const end = scene.clock.wall() + 1_000
  const expiring = (serial: number, conversation: string): Credential =>
    scene.credential(serial, { session: sessionId(conversation, 'b'), expiresAt: end })
  scene.hold(expiring(5, 'conv_former'), scene.credential(6, { session: OTHER }), expiring(7, 'conv_newest'))
  scene.clock.pause(999)
  await scene.look()
  assert.deepEqual(scene.serials, [5, 6, 7])
  scene.clock.pause(1)
  await scene.look()
  assert.deepEqual(scene.serials, [6, 7], 'the newest stays, as there is no other')
})

test('what a plain file holds is put in force once, and never one that is older', async () => {
  const scene = new Scene()
  const put = async (serial: number): Promise<string> => {
    const asked: number[] = []
    const find = async ({ heldSerial }: { readonly heldSerial: number }): Promise<Credential> => {
      asked.push(heldSerial)
      return scene.credential(serial)
    }
    const before = Math.max(0, ...scene.serials)
    const { kind } = await CredentialSync.put({ find }, scene.credentials)
    assert.deepEqual(asked, [before])
    return kind
  }
  assert.equal(await put(5), 'published')
  assert.equal(await put(5), 'unchanged')
  assert.equal(await put(6), 'published')
  await assert.rejects(put(5), { code: 'conflict', next: /an old one is never taken again/ })
  assert.deepEqual(scene.serials, [6])
})
