import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { ManualClock, settle } from '../../manual-clock.ts'

/** A loop whose steps take ten seconds and fail, and what it does. */
function hanging(clock: ManualClock, signal: AbortSignal, steadyMs?: number) {
  const began: number[] = []
  let recoveries = 0
  const loop = new RetryLoop({
    clock,
    chance: () => 1,
    signal,
    limits: { firstMs: 1_000, mostMs: 60_000 },
    ...(steadyMs === undefined ? {} : { steadyMs }),
    step: async () => {
      began.push(clock.now())
      await clock.sleep(10_000)
      throw new Error('no answer')
    },
    onTrouble: () => undefined,
    onWell: () => {
      recoveries += 1
    },
  })
  return {
    loop,
    pauses: () => began.slice(1).map((at, index) => at - (began[index] ?? 0) - 10_000),
    recoveries: () => recoveries,
  }
}

test('a step that hangs and then fails is a failure: the pauses grow, and nothing is said to be well', async () => {
  const clock = new ManualClock()
  const stop = new AbortController()
  const { loop, pauses, recoveries } = hanging(clock, stop.signal)
  await clock.advance(58_000)
  assert.deepEqual(pauses(), [1_000, 2_000, 4_000, 8_000].slice(0, pauses().length))
  assert.ok(pauses().length >= 3)
  assert.equal(recoveries(), 0)
  stop.abort()
  await clock.advance(20_000)
  await loop.done
})

test('a stream that has run for a while has recovered, though it breaks later', async () => {
  const clock = new ManualClock()
  const stop = new AbortController()
  const { loop, pauses, recoveries } = hanging(clock, stop.signal, 5_000)
  await clock.advance(58_000)
  assert.ok(pauses().every((pause) => pause === 1_000))
  assert.ok(recoveries() >= 3)
  stop.abort()
  await clock.advance(20_000)
  await loop.done
})

test('a nudge keeps the pause after a failure, and a retry ends it', async () => {
  const clock = new ManualClock()
  const stop = new AbortController()
  let tries = 0
  const loop = new RetryLoop({
    clock,
    chance: () => 1,
    signal: stop.signal,
    limits: { firstMs: 30_000, mostMs: 30_000 },
    step: async () => {
      tries += 1
      throw new Error('away')
    },
    onTrouble: () => undefined,
    onWell: () => undefined,
  })
  await settle()
  loop.nudge()
  await settle()
  assert.equal(tries, 1)
  loop.retry()
  await settle()
  assert.equal(tries, 2)
  stop.abort()
  await loop.done
})
