import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { CronTime } from 'cron'
import { CronSchedule } from '../../../services/core/runtime/cron-schedule.ts'
import { Dice } from '../../simulation/chance.ts'

const zone = process.env.TZ
afterEach(() => {
  if (zone === undefined) delete process.env.TZ
  else process.env.TZ = zone
})

const LINES = [
  '17 3 * * *',
  '* * * * *',
  '*/5 * * * *',
  '0 4 * * 0',
  '30 23 31 * *',
  '0 0 29 2 *',
  '15 10 13 * 5',
  '0 12 1-7 * 1-5',
  '0 0 * 1-11 *',
  '59 59 23 31 12 *',
  '*/7 * * * * *',
  '0 9-17/2 * jan,jul mon',
]

/** Moments that lie anywhere in four years, the same at every run; the library looks no further than eight from today. */
function* moments(count: number): Iterable<number> {
  const dice = new Dice('moments')
  for (let n = 0; n < count; n += 1) yield dice.whole(Date.UTC(2024, 0), Date.UTC(2028, 0))
}

describe('the calendar', () => {
  for (const line of LINES) {
    it(`finds for ${line} what the library that reads the line finds`, () => {
      process.env.TZ = 'Asia/Kathmandu' // a quarter of an hour beside the others, and no summer time
      const schedule = new CronSchedule(line)
      const reference = new CronTime(line, 'Asia/Kathmandu')
      for (const at of moments(40)) {
        assert.equal(schedule.next(at), reference.getNextDateFrom(new Date(at), 'Asia/Kathmandu').toMillis(), `${at}`)
      }
    })
  }

  it('finds nothing due at the very moment it is asked', () => {
    process.env.TZ = 'UTC'
    const schedule = new CronSchedule('0 * * * *')
    assert.equal(schedule.next(Date.UTC(2026, 0, 1, 5)), Date.UTC(2026, 0, 1, 6))
    assert.equal(schedule.next(Date.UTC(2026, 0, 1, 5) - 1), Date.UTC(2026, 0, 1, 5))
  })

  it('leaves out an hour that summer time leaves out, and goes on the next day', () => {
    process.env.TZ = 'Europe/Berlin'
    const schedule = new CronSchedule('30 2 * * *')
    assert.equal(schedule.next(Date.UTC(2026, 2, 28, 12)), Date.UTC(2026, 2, 30, 0, 30))
  })

  it('passes the hour that winter time repeats', () => {
    process.env.TZ = 'Europe/Berlin'
    const schedule = new CronSchedule('15 3 * * *')
    assert.equal(schedule.next(Date.UTC(2026, 9, 25, 0, 30)), Date.UTC(2026, 9, 25, 2, 15))
  })

  for (const [line, why] of [
    ['99 * * * *', /out of range/],
    ['0 0 30 2 *', /is never due/],
    ['* *', /few fields/],
    ['0 0 * * noday', /alias/],
  ] as const) {
    it(`refuses ${line}`, () => assert.throws(() => new CronSchedule(line), why))
  }
})
