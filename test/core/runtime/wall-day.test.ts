import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dayOf, nextDay } from '#runtime/wall-day.ts'

test('a day begins and ends by the clock of its zone, also where that is set forward or back', () => {
  for (const [zone, instant, day, next] of [
    ['UTC', '2026-11-30T15:00:00Z', '2026-11-30', '2026-12-01T00:00:00Z'],
    ['UTC', '2026-11-30T00:00:00Z', '2026-11-30', '2026-12-01T00:00:00Z'],
    ['America/Los_Angeles', '2026-12-01T07:59:59.999Z', '2026-11-30', '2026-12-01T08:00:00Z'],
    ['Asia/Kathmandu', '2026-11-30T18:15:00Z', '2026-12-01', '2026-12-01T18:15:00Z'],
    ['Europe/Berlin', '2026-10-24T22:00:00Z', '2026-10-25', '2026-10-25T23:00:00Z'],
    ['Europe/Berlin', '2026-03-28T23:30:00Z', '2026-03-29', '2026-03-29T22:00:00Z'],
  ] as const) {
    assert.equal(dayOf(Date.parse(instant), zone), day)
    assert.equal(nextDay(Date.parse(instant), zone), Date.parse(next), `${zone} ${instant}`)
  }
})
