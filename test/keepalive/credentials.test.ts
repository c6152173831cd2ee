import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CONFIG, Ground, LIFETIME_MS } from './ground.ts'

const LOOK_MS = 2_000

test('a new token is taken over without a restart, without a gap, and without touching other sessions', async () => {
  const ground = new Ground()
  const one = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  ground.start()
  await ground.pass(1_000)
  const token = await ground.store.rotateToken(one.b, 60_000)
  ground.credentials.files.set(one.b, { ...one.credential, token, createdAt: one.credential.createdAt + 1 })
  for (let second = 0; second < 120; second += 1) {
    await one.tell(`to one ${second}`)
    await other.tell(`to other ${second}`)
    await ground.outbox.put({ kind: 'send', from: one.b, draft: { text: `from one ${second}` } })
    await ground.pass(1_000)
  }
  assert.equal(ground.said('credential taken over'), 1)
  assert.equal(ground.said('trouble'), 0)
  assert.equal((await ground.heardFrom(one.b)).length, 120)
  assert.equal((await ground.inbox.list('new')).length, 240)
  assert.equal(ground.bridge.streams.get(other.b), 1, 'the stream of the other was never broken off')
  const pulse = await ground.pulse(one.b)
  assert.ok((pulse?.seq ?? 0) >= 24 && pulse?.incarnation === 'life-1')
})

test('while the bridge refuses the new one the old one stays in force, and it is said once', async () => {
  const ground = new Ground()
  const { b, credential, tell } = await ground.channel()
  ground.start()
  await ground.pass(1_000)
  const rotten = { ...credential, token: 'x'.repeat(64), createdAt: credential.createdAt + 1 }
  ground.credentials.files.set(b, rotten)
  await ground.pass(300_000)
  await tell('still heard')
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'still speaking' } })
  await ground.pass(1_000)
  assert.deepEqual(await ground.deliveryOf(b), { 'still heard': 'delivered' })
  assert.deepEqual(await ground.heardFrom(b), ['still speaking'])
  assert.match(ground.troubles[`credential of ${b}`] ?? '', /refuses the new credential .* the old one stays in force/)
  assert.equal(ground.said('trouble'), 1)
  const tries = ground.bridge.calls.filter(({ verb }) => verb === 'prove').length
  assert.ok(tries >= 3 && tries <= 6, `${tries} tries in five minutes`)
  assert.ok(!JSON.stringify(ground.log.records).includes('x'.repeat(64)), 'no token is ever said')

  const token = await ground.store.rotateToken(b, 0)
  ground.credentials.files.set(b, { ...credential, token, createdAt: credential.createdAt + 2 })
  await ground.pass(LOOK_MS + CONFIG.beatMs)
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'with the good one' } })
  await ground.pass(1_000)
  assert.deepEqual((await ground.heardFrom(b)).at(-1), 'with the good one')
  assert.deepEqual(ground.troubles, {})
})

test('a new one that the bridge could not be asked about is asked about again, and the old one works on', async () => {
  const ground = new Ground()
  const { b, credential } = await ground.channel()
  ground.start()
  await ground.pass(1_000)
  ground.weather.hangs.add('prove')
  const token = await ground.store.rotateToken(b, 3_600_000)
  ground.credentials.files.set(b, { ...credential, token, createdAt: credential.createdAt + 1 })
  const other = await ground.channel('s2-worker-2', { kept: true })
  await ground.pass(10_000)
  ground.credentials.files.set(other.b, other.credential)
  await ground.pass(60_000)
  assert.equal(ground.metric('sessions'), 2, 'a question that is never answered holds up nobody')
  ground.weather.hangs.clear()
  await ground.pass(60_000)
  assert.equal(ground.said('credential taken over'), 1)
})

test('a credential that went back to an older one is not taken', async () => {
  const ground = new Ground()
  const { b, credential } = await ground.channel()
  const token = await ground.store.rotateToken(b, 3_600_000)
  const newer = { ...credential, token, createdAt: credential.createdAt + 5 }
  ground.credentials.files.set(b, newer)
  ground.start()
  await ground.pass(1_000)
  ground.credentials.files.set(b, credential)
  await ground.pass(60_000)
  assert.match(ground.troubles[`credential of ${b}`] ?? '', /went back to an older credential/)
  assert.equal(ground.said('credential taken over'), 0)
  ground.credentials.files.set(b, newer)
  await ground.pass(LOOK_MS)
  assert.deepEqual(ground.troubles, {})
})

test('a removed one leaves; a damaged one, or a folder that is gone, does not', async () => {
  const ground = new Ground()
  const one = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  ground.start()
  await ground.pass(1_000)
  ground.credentials.files.set(one.b, 'malformed')
  await ground.pass(60_000)
  assert.equal(ground.metric('sessions'), 2)
  assert.match(ground.troubles['credential files'] ?? '', /is malformed/)
  ground.credentials.exists = false
  await ground.pass(60_000)
  assert.equal(ground.metric('sessions'), 2)
  assert.match(ground.troubles.credentials ?? '', /the credentials in force stay/)
  ground.credentials.exists = true
  ground.credentials.files.set(one.b, one.credential)
  ground.credentials.files.delete(other.b)
  await ground.pass(LOOK_MS)
  assert.equal(ground.metric('sessions'), 1)
  assert.deepEqual(ground.troubles, {})
  const seq = (await ground.pulse(other.b))?.seq
  const before = (await ground.pulse(one.b))?.seq ?? 0
  await ground.pass(60_000)
  assert.equal((await ground.pulse(other.b))?.seq, seq, 'it has left')
  assert.ok(((await ground.pulse(one.b))?.seq ?? 0) > before)
  assert.equal(ground.said('trouble'), 2)
})

test('one whose token is void is told once, asks seldom, keeps what it has to say, and silences no other', async () => {
  const ground = new Ground()
  const one = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  ground.start()
  await ground.pass(1_000)
  const token = await ground.store.rotateToken(one.b, 0)
  await ground.outbox.put({ kind: 'send', from: one.b, draft: { text: 'waits for the new one' } })
  ground.bridge.calls.length = 0
  const seq = (await ground.pulse(other.b))?.seq ?? 0
  await ground.pass(300_000)
  assert.ok(((await ground.pulse(other.b))?.seq ?? 0) >= seq + 50)
  assert.match(ground.troubles[`session ${one.b}`] ?? '', /does not let .* speak/)
  assert.equal(ground.said('trouble'), 1)
  const asked = ground.bridge.calls.filter(({ session }) => session === one.b).length
  assert.ok(asked < 60, `${asked} requests in five minutes`)
  assert.deepEqual(await ground.heardFrom(one.b), [])
  ground.credentials.files.set(one.b, { ...one.credential, token, createdAt: one.credential.createdAt + 1 })
  await ground.pass(LOOK_MS + 1_000)
  assert.deepEqual(await ground.heardFrom(one.b), ['waits for the new one'])
  assert.deepEqual(ground.troubles, {})
})

test('a conversation that has ended is told once, left when its time is over, and asked about seldom', async () => {
  const ground = new Ground()
  const ended = await ground.channel('s2-worker-1')
  const next = await ground.channel('s2-worker-1')
  const slow = { pollMs: 30_000, beatMs: 15_000 }
  ground.start(slow)
  await ground.pass(1_000)
  await ground.store.endConversation(ended.opened)
  await ground.outbox.put({ kind: 'send', from: ended.b, draft: { text: 'too late' } })
  await ground.pass(600_000)
  assert.equal(ground.metric('sessions'), 2)
  assert.equal(ground.said('trouble'), 1)
  assert.deepEqual(ground.troubles, {}, 'its agent is reached by another one: the host is not ill')
  await ground.store.renewConversation(next.opened, 3 * LIFETIME_MS)
  await ground.pass(LIFETIME_MS)
  assert.equal(ground.metric('sessions'), 1)
  assert.equal(ground.said('session left'), 1)
  ground.bridge.calls.length = 0
  await ground.pass(3_600_000)
  const asked = ground.bridge.calls.filter(({ session }) => session === ended.b).length
  assert.ok(asked >= 5 && asked <= 7, `${asked}`)
  assert.deepEqual(await ground.outbox.names(), ['0000000000000001'], 'what it had to say is kept')
  assert.ok(await ground.pulse(next.b))
})

test('one that is over by this host’s clock is asked about, for the clock may be wrong', async () => {
  const ground = new Ground()
  const { b } = await ground.channel()
  const old = await ground.channel('s2-worker-1')
  await ground.store.endConversation(old.opened)
  ground.credentials.files.set(old.b, { ...old.credential, expiresAt: ground.clock.wall() - 1 })
  const real = ground.credentials.files.get(b)
  if (real === undefined || real === 'malformed') throw new Error('no credential')
  ground.credentials.files.set(b, { ...real, expiresAt: ground.clock.wall() - 86_400_000 })
  ground.start({ pollMs: 5_000 })
  await ground.pass(5_000)
  assert.ok(await ground.pulse(b), 'the bridge says that it is good')
  assert.equal(ground.metric('sessions'), 1)
  assert.equal(ground.said('credential expired'), 1)
  await ground.pass(1_800_000)
  assert.equal(ground.said('credential expired'), 1)
  assert.deepEqual(ground.troubles, {})
})

test('a conversation moves to another address of its bridge, with what it has in hand', async () => {
  const ground = new Ground()
  const { b, credential, tell } = await ground.channel()
  ground.bridges.set('http://moved.test', ground.bridge)
  ground.start()
  await tell('at the old address')
  await ground.pass(1_000)
  const seq = (await ground.pulse(b))?.seq ?? 0
  ground.credentials.files.set(b, {
    ...credential,
    bridgeUrl: 'http://moved.test',
    createdAt: credential.createdAt + 1,
  })
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'on the way' } })
  await ground.pass(LOOK_MS + CONFIG.beatMs)
  await tell('at the new address')
  await ground.pass(1_000)
  assert.deepEqual(
    [...ground.inbox.folders.new.values()].map(({ text }) => text),
    ['at the old address', 'at the new address'],
  )
  assert.deepEqual(await ground.heardFrom(b), ['on the way'])
  assert.ok(((await ground.pulse(b))?.seq ?? 0) > seq, 'its beats count on')
  assert.equal((await ground.pulse(b))?.incarnation, 'life-1')
})

test('a hint of the bridge is left for whoever asks git, also while nothing else happens', async () => {
  const ground = new Ground()
  const one = await ground.channel()
  ground.start()
  await ground.pass(1_000)
  await ground.store.hintCredentials([one.opened])
  await ground.pass(0)
  assert.equal(ground.hints, 1)
  await ground.stop()
  await ground.store.hintCredentials([one.opened])
  assert.equal(ground.hints, 1)
})

test('a session that is locked out leaves a hint, once', async () => {
  const ground = new Ground()
  const { b } = await ground.channel()
  ground.start()
  await ground.pass(1_000)
  await ground.store.rotateToken(b, 0)
  await ground.pass(300_000)
  assert.equal(ground.hints, 1)
})
