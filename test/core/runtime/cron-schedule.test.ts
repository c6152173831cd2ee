import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { CronTime } from 'cron'
import { CronSchedule, ScheduleWatch } from '../../../services/core/runtime/cron-schedule.ts'
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

  for (const [line, zone, first, second] of [
    // 02:00 is 03:00 in Berlin on 29 March
    ['30 2 * * *', 'Europe/Berlin', Date.UTC(2026, 2, 29, 1, 30), Date.UTC(2026, 2, 30, 0, 30)],
    ['30 2 * * 0', 'Europe/Berlin', Date.UTC(2026, 2, 29, 1, 30), Date.UTC(2026, 3, 5, 0, 30)],
    ['30 2,3 * * *', 'Europe/Berlin', Date.UTC(2026, 2, 29, 1, 30), Date.UTC(2026, 2, 30, 0, 30)],
    ['30 * * * *', 'Europe/Berlin', Date.UTC(2026, 2, 29, 1, 30), Date.UTC(2026, 2, 29, 2, 30)],
    // the day begins at 01:00 in Santiago on 6 September
    ['0 0 * * *', 'America/Santiago', Date.UTC(2026, 8, 6, 4), Date.UTC(2026, 8, 7, 3)],
    // 02:00 is 02:30 on Lord Howe Island on 4 October
    ['10 2 * * *', 'Australia/Lord_Howe', Date.UTC(2026, 9, 3, 15, 40), Date.UTC(2026, 9, 4, 15, 10)],
  ] as const) {
    it(`moves ${line} out of what summer time leaves out in ${zone}, and is due once`, () => {
      process.env.TZ = zone
      const schedule = new CronSchedule(line)
      assert.equal(schedule.next(first - 45 * 60_000), first)
      assert.equal(schedule.next(first), second)
    })
  }

  for (const [line, first, second] of [
    // 03:00 is 02:00 in Berlin on 25 October: there are two of 02:30
    ['30 2 * * *', Date.UTC(2026, 9, 25, 0, 30), Date.UTC(2026, 9, 26, 1, 30)],
    ['30 2,3 * * *', Date.UTC(2026, 9, 25, 0, 30), Date.UTC(2026, 9, 25, 2, 30)],
    ['30 * * * *', Date.UTC(2026, 9, 25, 0, 30), Date.UTC(2026, 9, 25, 1, 30)],
  ] as const) {
    it(`has ${line} due once in the two hours that winter time calls the same, unless every hour is meant`, () => {
      process.env.TZ = 'Europe/Berlin'
      const schedule = new CronSchedule(line)
      assert.equal(schedule.next(first - 60_000), first)
      assert.equal(schedule.next(first), second)
    })
  }

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

describe('a watch on a schedule', () => {
  const DAY = 86_400_000
  const noon = Date.UTC(2026, 0, 1, 12)
  const begin = (wall: number): ScheduleWatch => {
    process.env.TZ = 'UTC'
    return new ScheduleWatch(new CronSchedule('47 3 * * *'), wall)
  }

  it('finds what fell due while the machine slept, once', () => {
    const watch = begin(noon)
    assert.equal(watch.isDue(noon + 3 * DAY), true)
    assert.equal(watch.isDue(noon + 3 * DAY + 1), false)
  })

  it('goes on with the next day when it began by a clock that was years ahead', () => {
    const watch = begin(noon + 3_650 * DAY)
    assert.equal(watch.isDue(noon), false)
    assert.equal(watch.isDue(noon + DAY), true)
  })

  it('is due again after a clock was put back, and not before its time', () => {
    const watch = begin(noon)
    assert.equal(watch.isDue(noon + DAY), true)
    assert.equal(watch.isDue(noon), false)
    assert.equal(watch.isDue(noon + DAY / 2), false)
    assert.equal(watch.isDue(noon + DAY), true)
  })
})
