import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HintLimiter } from '../../services/cred-sync/hint-limiter.ts'
import { ManualClock } from '../manual-clock.ts'

function scene(chance = () => 0.5) {
  const clock = new ManualClock()
  const over = new AbortController()
  const asked: number[] = []
  const begun = clock.now()
  const hurry = (): void => void asked.push(clock.now() - begun)
  return { clock, over, asked, limiter: new HintLimiter({ clock, chance, signal: over.signal, hurry }) }
}

test('a hint is followed soon, and those that come meanwhile with it', async () => {
  const { clock, asked, limiter } = scene()
  for (let hints = 0; hints < 50; hints += 1) limiter.hint()
  await clock.advance(1_000)
  assert.deepEqual(asked, [250])
  limiter.hint()
  await clock.advance(1_000)
  assert.deepEqual(asked, [250, 1_250])
})

test('many hosts that hear one hint are spread by chance, and all within half a second', async () => {
  const at: number[] = []
  for (let host = 0; host < 100; host += 1) {
    const { clock, asked, limiter } = scene(() => host / 100)
    limiter.hint()
    await clock.advance(500)
    at.push(...asked)
  }
  assert.equal(at.length, 100)
  assert.equal(new Set(at).size, 100)
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
  over.abort()
  limiter.hint()
  await clock.advance(120_000)
  assert.deepEqual(asked, [])
})
