/** A signed request counts once, and none that was signed before the bridge began. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClockError } from '#store/remote/problem-details.ts'
import { NonceCache } from '../../services/bridge/nonce-cache.ts'

/** A whole second; the cache begins a quarter later. */
const BEGAN_S = 1_750_000_000

class Scene {
  nowMs = BEGAN_S * 1000 + 250
  readonly cache = new NonceCache({ now: () => this.nowMs })

  /** What becomes of a request that was signed in this second, since the begin, and comes `atS` after it. */
  admit(createdS: number, nonce: string, atS: number): string {
    this.nowMs = (BEGAN_S + atS) * 1000
    return outcome(() => this.cache.admit(BEGAN_S + createdS, nonce))
  }

  demandTimely(createdS: number, atS: number): string {
    this.nowMs = (BEGAN_S + atS) * 1000
    return outcome(() => this.cache.demandTimely(BEGAN_S + createdS))
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
  assert.throws(() => scene.cache.admit(BEGAN_S + 10, 'one'), {
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
  scene.nowMs += 999
  assert.throws(
    () => scene.cache.demandTimely(BEGAN_S + 100),
    (error) => {
      assert.ok(error instanceof ClockError)
      assert.deepEqual([error.code, error.time, error.retryAfterS], ['expired', scene.nowMs, undefined])
      assert.match(error.next ?? '', /by the time that this answer names: at most 60 s old/)
      return true
    },
  )
})

test('what may have been signed before the cache began is refused, and told when a new one will do', () => {
  const scene = new Scene()
  for (const created of [-1, 0, 1]) assert.equal(scene.demandTimely(created, 0.25), RESTARTED, String(created))
  const refusal = (nowMs: number): unknown => {
    scene.nowMs = nowMs
    try {
      scene.cache.demandTimely(BEGAN_S + 1)
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
})

test('a cache that is full refuses, rather than forgets, until the time of what it holds is over', () => {
  const scene = new Scene()
  const created = BEGAN_S + 10
  scene.nowMs = created * 1000
  for (let nonce = 0; nonce < 1_000_000; nonce += 1) scene.cache.admit(created, String(nonce))
  assert.throws(() => scene.cache.admit(created, 'one more'), { code: 'unavailable', retryAfterS: 1 })
  assert.equal(scene.cache.size, 1_000_000)
  assert.equal(scene.admit(10, '0', 10), REPEATED)
  assert.equal(scene.admit(71, 'one more', 71), 'admitted')
  assert.equal(scene.cache.size, 1)
})
