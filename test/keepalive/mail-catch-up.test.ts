/** What the stream of mail has left out, by a store that always has one unacked message more than the inbox. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StoredMessage } from '#fleet/message.ts'
import { MailCatchUp } from '../../services/keepalive/mail-catch-up.ts'
import { ManualClock } from '../manual-clock.ts'

const LOST: StoredMessage = {
  id: 1,
  from: 'conv_x/a',
  to: 'conv_x/b',
  text: 'lost',
  action: null,
  files: [],
  sentAt: 0,
  delivery: 'queued',
}

class Scene implements Disposable {
  readonly clock = new ManualClock()
  readonly catchUp: MailCatchUp
  readonly kept: number[] = []
  asked = 0
  answer: Promise<void> = Promise.resolve()
  readonly #over = new AbortController()

  constructor() {
    this.catchUp = new MailCatchUp({
      session: 'conv_x/b',
      clock: this.clock,
      chance: () => 0.5,
      signal: this.#over.signal,
      store: {
        unacked: async () => {
          this.asked += 1
          await this.answer
          return [LOST]
        },
      },
      heldIds: () => new Set(this.kept),
      keep: async (messages) => void this.kept.push(...messages.map(({ id }) => id)),
      onTrouble: () => undefined,
      onWell: () => undefined,
    })
  }

  [Symbol.dispose](): void {
    this.#over.abort()
  }
}

test('what is missing is fetched when the stream had time to bring it', async () => {
  using scene = new Scene()
  await scene.clock.advance(5_000)
  assert.deepEqual([scene.asked, scene.kept], [1, []])
  await scene.clock.advance(5_000)
  assert.deepEqual([scene.asked, scene.kept], [2, [1]])
})

test('a bridge that comes back twice makes it ask twice, which says nothing of the stream', async () => {
  using scene = new Scene()
  await scene.clock.advance(5_000)
  const { promise, resolve } = Promise.withResolvers<void>()
  scene.answer = promise
  scene.catchUp.retry()
  await scene.clock.advance(100)
  scene.catchUp.retry() // while the first question is under way
  await scene.clock.advance(100)
  resolve()
  await scene.clock.advance(100)
  assert.deepEqual([scene.asked, scene.kept], [3, []])
  await scene.clock.advance(5_000)
  assert.deepEqual([scene.asked, scene.kept], [4, [1]])
})

test('what was missing before the bridge was away counts anew', async () => {
  using scene = new Scene()
  await scene.clock.advance(9_000)
  scene.answer = Promise.reject(new Error('away'))
  scene.answer.catch(() => undefined)
  await scene.clock.advance(1_000)
  assert.equal(scene.asked, 2)
  scene.answer = Promise.resolve()
  await scene.clock.advance(1_000)
  assert.deepEqual([scene.asked, scene.kept], [3, []])
})
