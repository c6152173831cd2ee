/** A signed request counts once, and none that was signed before the bridge began. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordingLog } from '#runtime/log.ts'
import { ClockError } from '#store/remote/problem-details.ts'
import { NonceCache } from '../../services/bridge/nonce-cache.ts'

/** A whole second; the cache begins a quarter later. */
const BEGAN_S = 1_750_000_000

class Scene {
  readonly log = recordingLog()
  readonly cache = new NonceCache(BEGAN_S * 1000 + 250, this.log)

  /** What becomes of a request that was signed in this second, since the begin, and comes `atS` after it. */
  admit(createdS: number, nonce: string, atS: number): string {
    return outcome(() => this.cache.admit(BEGAN_S + createdS, nonce, (BEGAN_S + atS) * 1000))
  }

  demandTimely(createdS: number, atS: number): string {
    return outcome(() => this.cache.demandTimely(BEGAN_S + createdS, (BEGAN_S + atS) * 1000))
  }
}

function outcome(act: () => void): string {
  try {
    act()
    return 'admitted'
  } catch (error) {
    return (error as Error).message
  }
}

const REPEATED = 'the same signed request was made before'
const RESTARTED = 'the bridge has started since the request was signed'

test('a request is admitted once; its nonce counts only together with its second', () => {
  const scene = new Scene()
  assert.equal(scene.admit(10, 'one', 10), 'admitted')
  assert.equal(scene.admit(10, 'one', 10), REPEATED)
  assert.equal(scene.admit(10, 'two', 10), 'admitted')
  assert.equal(scene.admit(11, 'one', 11), 'admitted')
  assert.equal(scene.admit(10, 'two', 11), REPEATED)
  assert.equal(scene.cache.size, 3)
  assert.throws(() => scene.cache.admit(BEGAN_S + 10, 'one', (BEGAN_S + 10) * 1000), {
    code: 'unauthenticated',
    next: /another nonce/,
  })
})

test('to ask for the time of a request remembers nothing of it', () => {
  const scene = new Scene()
  assert.equal(scene.demandTimely(10, 10), 'admitted')
  assert.equal(scene.demandTimely(10, 10), 'admitted')
  assert.equal(scene.cache.size, 0)
  assert.equal(scene.admit(10, 'one', 10), 'admitted')
})

test('a signature may be 60 s old and 1 s ahead; beyond that it is told how far off it is, and the time of the bridge', () => {
  const scene = new Scene()
  assert.equal(scene.demandTimely(100, 160), 'admitted')
  assert.equal(scene.demandTimely(100, 161), 'the request was signed 61 s ago')
  assert.equal(scene.demandTimely(162, 161), 'admitted')
  assert.equal(scene.demandTimely(163, 161), 'the request was signed 2 s ahead')
  const wallMs = (BEGAN_S + 161) * 1000 + 999
  assert.throws(
    () => scene.cache.demandTimely(BEGAN_S + 100, wallMs),
    (error) => {
      assert.ok(error instanceof ClockError)
      assert.deepEqual([error.code, error.time, error.retryAfterS], ['expired', wallMs, undefined])
      assert.match(error.next ?? '', /correct clock: at most 60 s old/)
      return true
    },
  )
})

test('what may have been signed before the cache began is refused, and told when a new one will do', () => {
  const scene = new Scene()
  for (const created of [-1, 0, 1]) assert.equal(scene.demandTimely(created, 0.25), RESTARTED, String(created))
  const refusal = (wallMs: number): unknown => {
    try {
      scene.cache.demandTimely(BEGAN_S + 1, wallMs)
    } catch (error) {
      const { code, time, retryAfterS, next } = error as ClockError
      return [code, time, retryAfterS, next]
    }
    return null
  }
  const again = 'sign it again in a moment'
  const began = BEGAN_S * 1000
  assert.deepEqual(refusal(began + 250), ['expired', began + 250, 1.75, again])
  assert.deepEqual(refusal(began + 5_000), ['expired', began + 5_000, 0, again])
  assert.equal(scene.admit(2, 'one', 1), 'admitted', 'the first that cannot have been')
})

test('nonces are remembered for exactly as long as their time is accepted', () => {
  const scene = new Scene()
  for (const nonce of ['one', 'two', 'three']) scene.admit(10, nonce, 10)
  scene.admit(11, 'one', 11)
  assert.equal(scene.admit(10, 'one', 70), REPEATED)
  assert.equal(scene.cache.size, 4)
  assert.match(scene.admit(10, 'one', 71), /61 s ago/)
  assert.equal(scene.cache.size, 1)
  assert.equal(scene.admit(11, 'one', 71), REPEATED)
  assert.match(scene.admit(11, 'one', 72), /61 s ago/)
  assert.equal(scene.cache.size, 0)
  assert.deepEqual(scene.log.records, [])
})

test('a nonce that was forgotten is not admitted again by a clock that is set back a little', () => {
  const scene = new Scene()
  scene.admit(10, 'one', 10)
  scene.admit(12, 'one', 12)
  scene.demandTimely(73, 73)
  assert.equal(scene.cache.size, 0)
  assert.equal(scene.demandTimely(13, 72), 'admitted')
  for (const created of [10, 12]) assert.equal(scene.admit(created, 'one', 15), RESTARTED, String(created))
  assert.equal(scene.admit(13, 'one', 15), 'admitted')
  assert.equal(scene.demandTimely(12, 11), RESTARTED, 'the last of them cannot lie ahead')
  assert.deepEqual(scene.log.records, [], 'nothing else is refused for it')
})

test('a clock that is set back by much is told, and only what may have been signed before that is refused', () => {
  const scene = new Scene()
  scene.admit(1000, 'one', 1000)
  scene.demandTimely(2000, 2000)
  assert.equal(scene.demandTimely(500, 500), RESTARTED)
  assert.deepEqual(scene.log.records, [
    { level: 'warn', event: 'clock set back, refusing signatures of before', fields: { seconds: 500 } },
  ])
  assert.equal(scene.demandTimely(501, 500), RESTARTED)
  assert.equal(scene.admit(502, 'one', 501), 'admitted')
  assert.equal(scene.log.records.length, 1, 'it is told once')
})

test('a cache that is full refuses, rather than forgets, until the time of what it holds is over', () => {
  const scene = new Scene()
  const [created, wallMs] = [BEGAN_S + 10, (BEGAN_S + 10) * 1000]
  for (let nonce = 0; nonce < 1_000_000; nonce += 1) scene.cache.admit(created, String(nonce), wallMs)
  assert.throws(() => scene.cache.admit(created, 'one more', wallMs), { code: 'unavailable', retryAfterS: 1 })
  assert.equal(scene.cache.size, 1_000_000)
  assert.equal(scene.admit(10, '0', 10), REPEATED)
  assert.equal(scene.admit(71, 'one more', 71), 'admitted')
  assert.equal(scene.cache.size, 1)
})
