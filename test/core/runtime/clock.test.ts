import assert from 'node:assert/strict'
import { test } from 'node:test'
import { elapsedMs, type Moment, momentOf, systemClock } from '#runtime/clock.ts'
import { Loop } from '#runtime/loop.ts'
import { Machine, Timeline } from '../../simulation/clock.ts'

const DAY = 86_400_000
const HOUR = 3_600_000

for (const ms of [2 ** 31, 30 * DAY, 10 * 365 * DAY, Number.POSITIVE_INFINITY]) {
  test(`a wait of ${ms} ms does not end at once, and ends when it is aborted`, async () => {
    const over = new AbortController()
    const waited = systemClock.sleep(ms, over.signal)
    const first = await Promise.race([waited.then(() => 'the wait'), systemClock.sleep(20).then(() => 'the other')])
    assert.equal(first, 'the other')
    over.abort(new Error('enough'))
    await assert.rejects(waited)
  })
}

test('a loop whose step wants to wait for a month does not spin', async () => {
  const ending = new AbortController()
  let steps = 0
  const step = async (): Promise<number> => {
    steps += 1
    return 30 * DAY
  }
  const loop = new Loop({ clock: systemClock, signal: ending.signal, step, onError: () => HOUR })
  await systemClock.sleep(20)
  ending.abort()
  await loop.done
  assert.equal(steps, 1)
})

test('the time since a moment counts a suspend, and a wall clock that was put back changes nothing', async () => {
  const timeline = new Timeline()
  const machine = new Machine('laptop', timeline)
  const clock = { now: () => machine.now(), wall: () => machine.wall() }
  const since: Moment = momentOf(clock)
  await timeline.runTo(1_000)
  assert.equal(elapsedMs(since, clock), 1_000)
  machine.stepWall(-3 * HOUR)
  assert.equal(elapsedMs(since, clock), 1_000)
  machine.stepWall(3 * HOUR)
  machine.suspend()
  await timeline.runTo(1_000 + 8 * HOUR)
  machine.resume()
  assert.equal(elapsedMs(since, clock), 1_000 + 8 * HOUR)
})
