import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dice } from '../simulation/chance.ts'
import { type Point, risesBy, trendOf } from './trend.ts'

const MINUTE_MS = 60_000

function series(valueAt: (minute: number) => number): Point[] {
  return Array.from({ length: 60 }, (_, minute) => ({ at: minute * MINUTE_MS, value: valueAt(minute) }))
}

test('a straight line has its slope, and no error', () => {
  const trend = trendOf(series((minute) => 100 + 2 * minute))
  assert.ok(trend !== null)
  assert.ok(Math.abs(trend.perHour - 120) < 1e-9)
  assert.ok(trend.off < 1e-6)
  assert.deepEqual([trend.first, trend.last, trend.most].map(Math.round), [100, 218, 218])
})

test('a leak is seen through noise, and noise alone is none', () => {
  const dice = new Dice('trend')
  const noise = (): number => dice.between(-5, 5)
  const leak = trendOf(series((minute) => 50 + minute / 10 + noise()))
  const still = trendOf(series(() => 50 + noise()))
  assert.ok(leak !== null && still !== null)
  assert.ok(risesBy(leak, 1), `${leak.perHour} ± ${leak.off}`)
  assert.ok(!risesBy(still, 1), `${still.perHour} ± ${still.off}`)
})

test('two points are no trend', () => {
  assert.equal(trendOf([]), null)
  assert.equal(trendOf(series(() => 1).slice(0, 2)), null)
})
