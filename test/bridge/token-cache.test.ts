/** The tokens in force are remembered for a moment, and never longer than what changed them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Code, S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Store } from '#store/store.ts'
import { TokenCache } from '../../services/bridge/token-cache.ts'
import { ManualClock } from '../manual-clock.ts'

const B = sessionId('conv_0123456789abcdef', 'b')
const A = sessionId('conv_0123456789abcdef', 'a')

/** A cache before a store that answers as the test says. */
class Scene {
  readonly clock = new ManualClock()
  readonly asked: SessionId[] = []
  answer: (session: SessionId) => Promise<readonly string[]> = async (session) => [`token of ${session}`]
  readonly cache: TokenCache

  constructor() {
    const tokens = (session: SessionId): Promise<readonly string[]> => {
      this.asked.push(session)
      return this.answer(session)
    }
    this.cache = new TokenCache({ tokens } as Pick<Store, 'tokens'> as Store, this.clock)
  }
}

test('tokens are remembered for two seconds from when they were asked for', async () => {
  const scene = new Scene()
  assert.equal(scene.cache.peek(B), undefined)
  scene.answer = async () => {
    scene.clock.pause(500)
    return ['one', 'two']
  }
  assert.deepEqual(await scene.cache.fetch(B), ['one', 'two'])
  assert.deepEqual(scene.cache.peek(B), ['one', 'two'])
  assert.equal(scene.cache.peek(A), undefined, 'the other end has its own')
  scene.clock.pause(1_499)
  assert.deepEqual(scene.cache.peek(B), ['one', 'two'])
  scene.clock.pause(1)
  assert.equal(scene.cache.peek(B), undefined)
  assert.deepEqual(scene.asked, [B], 'to peek asks nobody')
})

test('a session that is unknown or has ended has no token, and that is remembered as well', async () => {
  for (const code of ['not_found', 'expired'] as const) {
    const scene = new Scene()
    scene.answer = async () => {
      throw new S2Error(code, code)
    }
    assert.deepEqual(await scene.cache.fetch(B), [])
    assert.deepEqual(scene.cache.peek(B), [])
  }
})

test('a store that cannot answer is no answer: it is thrown, and nothing is remembered', async () => {
  const errors = [...(['unavailable', 'internal', 'unknown_outcome'] satisfies Code[])].map(
    (code) => new S2Error(code, code),
  )
  for (const error of [...errors, new Error('not_found')]) {
    const scene = new Scene()
    scene.answer = () => Promise.reject(error)
    await assert.rejects(scene.cache.fetch(B), error)
    assert.equal(scene.cache.peek(B), undefined)
  }
})

test('what is forgotten is asked for anew: both ends of the conversation, and no other', async () => {
  const scene = new Scene()
  const other = sessionId('conv_other', 'b')
  for (const session of [A, B, other]) await scene.cache.fetch(session)
  scene.cache.forget('conv_0123456789abcdef')
  assert.deepEqual([scene.cache.peek(A), scene.cache.peek(B)], [undefined, undefined])
  assert.deepEqual(scene.cache.peek(other), [`token of ${other}`])
})

test('what was being asked for when it changed is answered, and not remembered', async () => {
  const scene = new Scene()
  const answer = Promise.withResolvers<readonly string[]>()
  scene.answer = () => answer.promise
  const fetched = scene.cache.fetch(B)
  scene.cache.forget('conv_0123456789abcdef')
  answer.resolve(['the former token'])
  assert.deepEqual(await fetched, ['the former token'])
  assert.equal(scene.cache.peek(B), undefined)
  await scene.cache.fetch(B)
  assert.ok(scene.cache.peek(B) !== undefined, 'later ones are')
})

test('strangers who ask for more sessions than there are do not fill the memory', async () => {
  const scene = new Scene()
  const stranger = (index: number): SessionId => sessionId(`stranger_${index}`, 'b')
  for (let index = 0; index < 20_000; index += 1) await scene.cache.fetch(stranger(index))
  assert.ok(scene.cache.peek(stranger(0)) !== undefined)
  await scene.cache.fetch(B)
  assert.equal(scene.cache.peek(stranger(0)), undefined)
  assert.equal(scene.cache.peek(stranger(19_999)), undefined)
  assert.ok(scene.cache.peek(B) !== undefined)
})
