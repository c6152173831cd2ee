import assert from 'node:assert/strict'
import { test } from 'node:test'
import { elapsedMs, MicrosecondClock, type Moment, momentOf, systemClock } from '#runtime/clock.ts'
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

test('microseconds stay within the millisecond of the wall clock, and go back only where it does', () => {
  let [wall, now] = [1_000, 0]
  const micros = new MicrosecondClock({ wall: () => wall, now: () => now })
  let before = 0
  const at = (wallMs: number, nowMs: number): number => {
    wall = wallMs
    now = nowMs
    const found = micros.wall()
    assert.equal(Math.floor(found / 1000), Math.floor(wallMs), `${found} is in ${wallMs}`)
    return found
  }
  assert.equal(at(1_000, 5), 1_000_000)
  for (const [wallMs, nowMs] of [
    [1_000, 5.2],
    [1_000.9, 7], // the wall clock is the slower one
    [1_000, 7.1],
    [1_001, 7.2],
    [1_900, 8], // it was set forward
    [1_900, 8.5],
    [1_901, 30], // the machine was suspended, or the wall clock stopped
  ] as const) {
    const found = at(wallMs, nowMs)
    assert.ok(found >= before, `${found} after ${before}`)
    before = found
  }
  assert.ok(at(500, 31) < before, 'it was set back')
  const first = at(500, 31.1)
  assert.ok(at(500, 31.2) >= first)
  assert.equal(micros.wall(), micros.wall())
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
