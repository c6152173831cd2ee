import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backoff } from '#runtime/backoff.ts'
import { systemClock } from '#runtime/clock.ts'
import { Loop } from '#runtime/loop.ts'

const FOR_EVER = 3_600_000

test('a nudge brings the next step at once; one during a step is not lost', async () => {
  const abort = new AbortController()
  const steps = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let count = 0
  const loop: Loop = new Loop({
    clock: systemClock,
    signal: abort.signal,
    step: async () => {
      steps[count]?.resolve()
      count += 1
      if (count === 1) loop.nudge()
      return FOR_EVER
    },
    onError: () => FOR_EVER,
  })
  await steps[1]?.promise
  loop.nudge()
  await steps[2]?.promise
  abort.abort()
  await loop.done
  assert.equal(count, 3)
})

test('a failing step does not end the loop, and its wait is kept against nudges made meanwhile', async () => {
  const abort = new AbortController()
  const waits: number[] = []
  const twice = Promise.withResolvers<void>()
  const clock = {
    ...systemClock,
    sleep: async (ms: number) => {
      waits.push(ms)
      if (waits.length === 2) twice.resolve()
    },
  }
  const loop: Loop = new Loop({
    clock,
    signal: abort.signal,
    step: async () => {
      loop.nudge()
      throw new Error('no')
    },
    onError: () => 77,
  })
  await twice.promise
  abort.abort()
  await loop.done
  assert.deepEqual(waits.slice(0, 2), [77, 77])
})

test('back-off stays within a doubling ceiling and its bound', () => {
  const most = { firstMs: 100, mostMs: 5000 }
  assert.equal(backoff(0, most, () => 0.999_999) < 100, true)
  assert.equal(
    backoff(3, most, () => 0.5),
    400,
  )
  assert.equal(
    backoff(1000, most, () => 0.5),
    2500,
  )
  assert.equal(
    backoff(5, most, () => 0),
    0,
  )
})
