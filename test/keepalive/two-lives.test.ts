/** A host and its copy: the same credentials, the same spool, two lives. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PLACE_HELD_MS } from '#fleet/speakers.ts'
import { CONFIG, Ground } from './ground.ts'

const MINUTE = 60_000

async function hostAndCopy() {
  const host = new Ground()
  const copy = new Ground(2, host)
  const { b, credential, tell } = await host.channel()
  const other = await host.channel('s2-worker-2')
  copy.credentials.files.set(b, credential)
  host.place = 'here'
  copy.place = 'there'
  host.start({ host: 'box-1' })
  await host.pass(0)
  copy.start({ host: 'box-2' })
  await host.pass(0)
  const heard = async () => (await host.pulse(b))?.host
  const beatsOf = (from: number): number =>
    host.bridge.calls.filter(({ verb, session, at }) => verb === 'beat' && session === b && at >= from).length
  return { host, copy, b, other, credential, tell, heard, beatsOf }
}

test('the copy is told by whom its session is spoken for, once, and neither beats on nor takes mail', async () => {
  const { host, copy, b, tell, heard, beatsOf } = await hostAndCopy()
  for (let n = 0; n < 10; n += 1) {
    await tell(`mail ${n}`)
    await host.pass(MINUTE)
    assert.equal(await heard(), 'box-1')
  }
  assert.equal((await host.inbox.list('new')).length, 10)
  assert.deepEqual(await copy.inbox.list('new'), [])
  const told = copy.log.records.filter(({ event }) => event === 'trouble')
  assert.equal(told.length, 1)
  const [why] = Object.values(copy.troubles)
  assert.match(why ?? '', new RegExp(`^${b} is spoken for by box-1, .*stop S2 on one of the two, .*s2 worker invite`))
  assert.equal(copy.health.ready, false)
  assert.equal(copy.hints, 0, 'no new credential would change it')
  assert.deepEqual(host.troubles, {})
  // The one beats every 5 s, the other asks once in half a minute whether it still may not.
  assert.ok(beatsOf(0) <= (10 * MINUTE) / (0.9 * CONFIG.beatMs) + (10 * MINUTE) / (PLACE_HELD_MS - CONFIG.beatMs) + 3)
})

test('mail that waited before the copy came is not taken by it either, at no time between its start and its refusal', async () => {
  const { host, copy, tell } = await hostAndCopy()
  copy.kill()
  host.inbox.isFull = true
  await tell('waits')
  await host.pass(1_000)
  copy.start({ host: 'box-2' })
  for (let n = 0; n < 300; n += 1) await host.pass(500)
  assert.deepEqual(await copy.inbox.list('new'), [])
  assert.deepEqual(copy.bridge.streams.size, 2, 'those of the host')
})

test('when the host falls silent the copy speaks within the bound, and the host is refused when it is back', async () => {
  const { host, copy, b, tell, heard } = await hostAndCopy()
  await tell('first')
  await host.pass(MINUTE)
  host.kill()
  await host.pass(PLACE_HELD_MS + CONFIG.beatMs + 1_000)
  assert.equal(await heard(), 'box-2')
  assert.deepEqual(copy.troubles, {})
  assert.equal(copy.said('trouble is over'), 1)
  await tell('second')
  await host.pass(1_000)
  assert.equal((await copy.inbox.list('new')).length, 2, 'what nobody acked comes again')
  host.start({ host: 'box-1' })
  await host.pass(MINUTE)
  assert.equal(await heard(), 'box-2')
  assert.match(Object.values(host.troubles).join(), new RegExp(`${b} is spoken for by box-2`))
})

test('what was sent and acked at the copy is carried though it is refused', async () => {
  const { host, copy, b } = await hostAndCopy()
  await copy.outbox.put({ kind: 'send', from: b, draft: { text: 'done before I was copied' } })
  await host.pass(5_000)
  assert.deepEqual(await host.heardFrom(b), ['done before I was copied'])
})

test('one session of a host that is spoken for from elsewhere keeps no other from beating or its mail', async () => {
  const { host, copy, other } = await hostAndCopy()
  copy.credentials.files.set(other.b, other.credential)
  host.credentials.files.delete(other.b)
  await host.pass(PLACE_HELD_MS + MINUTE)
  assert.equal((await host.pulse(other.b))?.host, 'box-2')
  const before = (await host.pulse(other.b))?.seq ?? 0
  await host.pass(MINUTE)
  assert.ok(((await host.pulse(other.b))?.seq ?? 0) - before >= MINUTE / CONFIG.beatMs - 1)
  await other.tell('hello')
  await host.pass(1_000)
  assert.equal((await copy.inbox.list('new')).length, 1)
})

test('while the bridge is away for a moment neither takes the place of the other', async () => {
  const { host, copy, heard } = await hostAndCopy()
  for (let n = 1; n <= 10; n += 1) {
    await host.pass(n * 7_300)
    host.weather.away = true
    await host.pass(PLACE_HELD_MS - 10_000)
    host.weather.away = false
    for (let second = 0; second < 60; second += 1) {
      await host.pass(1_000)
      assert.equal(await heard(), 'box-1', `absence ${n}, ${second} s later`)
    }
    assert.match(Object.values(copy.troubles).join(), /is spoken for by box-1/)
  }
})

test('a host that starts again, or is killed and started, goes on at once', async () => {
  const { host, heard } = await hostAndCopy()
  for (let n = 0; n < 5; n += 1) {
    host.kill()
    await host.pass(2_000)
    host.start({ host: 'box-1' })
    await host.pass(1_000)
    assert.deepEqual(host.troubles, {})
    assert.equal(await heard(), 'box-1')
    assert.match(
      (await host.pulse(host.bridge.calls[0]?.session ?? 'x/b'))?.incarnation ?? '',
      new RegExp(`life-${n + 2}`),
    )
  }
})

test('hosts that name no place are heard in turn, as before', async () => {
  const host = new Ground()
  const copy = new Ground(2, host)
  const { b, credential, tell } = await host.channel()
  copy.credentials.files.set(b, credential)
  host.start({ host: 'box-1' })
  copy.start({ host: 'box-2' })
  await tell('to both')
  await host.pass(MINUTE)
  assert.deepEqual([host.troubles, copy.troubles], [{}, {}])
  assert.deepEqual([(await host.inbox.list('new')).length, (await copy.inbox.list('new')).length], [1, 1])
})
