import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HintLimiter } from '../../services/cred-sync/hint-limiter.ts'
import { ManualClock } from '../manual-clock.ts'

function scene() {
  const clock = new ManualClock()
  const over = new AbortController()
  const asked: number[] = []
  const begun = clock.now()
  const hurry = (): void => void asked.push(clock.now() - begun)
  return { clock, over, asked, limiter: new HintLimiter({ clock, signal: over.signal, hurry }) }
}

test('a hint is followed at once, and those that come close after it together', async () => {
  const { clock, asked, limiter } = scene()
  for (let hints = 0; hints < 50; hints += 1) limiter.hint()
  await clock.advance(100)
  limiter.hint()
  await clock.advance(1_000)
  assert.deepEqual(asked, [0, 500])
  limiter.hint()
  await clock.advance(1_000)
  assert.deepEqual(asked, [0, 500, 1_100])
})

test('a storm of hints is no storm of questions, and its last one is followed', async () => {
  const { clock, asked, limiter } = scene()
  for (let second = 0; second < 600; second += 1) {
    limiter.hint()
    await clock.advance(1_000)
  }
  for (const start of asked) assert.ok(asked.filter((at) => at >= start && at < start + 60_000).length <= 12)
  assert.ok(asked.length >= 100, `${asked.length} in ten minutes`)
  const before = asked.length
  await clock.advance(120_000)
  assert.ok(asked.length === before || (asked.at(-1) ?? 0) >= 599_000, 'what was hinted last is asked for')
  assert.ok((asked.at(-1) ?? 0) >= 599_000)
})

test('nothing is asked any more when the program drains', async () => {
  const { clock, over, asked, limiter } = scene()
  limiter.hint()
  limiter.hint()
  over.abort()
  limiter.hint()
  await clock.advance(120_000)
  assert.deepEqual(asked, [0])
})
