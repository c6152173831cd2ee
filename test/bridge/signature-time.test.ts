/** The time of signatures goes on where the wall clock is set back, so that no request counts twice. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordingLog } from '#runtime/log.ts'
import { NonceCache } from '../../services/bridge/nonce-cache.ts'
import { SignatureTime } from '../../services/bridge/signature-time.ts'

class Scene {
  readonly log = recordingLog()
  monotonic = 0
  wall = 1_750_000_000_000
  readonly time = new SignatureTime(
    { now: () => this.monotonic, wall: () => this.wall, sleep: () => Promise.reject(new Error('nobody waits')) },
    this.log,
  )

  pass(ms: number): number {
    this.monotonic += ms
    this.wall += ms
    return this.time.now()
  }
}

test('it is the wall clock, also after a suspend, and where that is set ahead', () => {
  const scene = new Scene()
  assert.equal(scene.pass(5_000), scene.wall)
  scene.wall += 3_600_000
  assert.equal(scene.pass(1), scene.wall)
  assert.deepEqual(scene.log.records, [])
})

test('where the wall clock is set back it goes on as before, and is told once until the wall clock has caught up', () => {
  const scene = new Scene()
  const before = scene.pass(1_000)
  scene.wall -= 500_000
  assert.equal(scene.pass(2_000), before + 2_000)
  assert.equal(scene.pass(100_000), before + 102_000)
  const told = { level: 'warn', event: 'clock set back, callers sign by the time of before', fields: { seconds: 500 } }
  assert.deepEqual(scene.log.records, [told])
  scene.wall += 500_000
  assert.equal(scene.pass(0), scene.wall)
  scene.wall -= 999
  scene.pass(0)
  assert.equal(scene.log.records.length, 1, 'less than a second is nothing')
  scene.wall -= 500_000
  scene.pass(0)
  assert.equal(scene.log.records.length, 2)
})

test('what was admitted before the clock was set back is never admitted again', () => {
  const scene = new Scene()
  const cache = new NonceCache(scene.time)
  const created = Math.floor(scene.pass(100_000) / 1000)
  cache.admit(created, 'one')
  scene.pass(900_000)
  cache.demandTimely(Math.floor(scene.time.now() / 1000))
  assert.equal(cache.size, 0, 'it is forgotten')
  scene.wall -= 950_000
  for (let passed = 0; passed < 120; passed += 1) {
    scene.pass(1_000)
    assert.throws(() => cache.admit(created, 'one'), { code: 'expired' })
  }
  cache.admit(Math.floor(scene.time.now() / 1000), 'two')
})
