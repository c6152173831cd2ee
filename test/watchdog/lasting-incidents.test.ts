import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Incident } from '#fleet/incident.ts'
import { planRetellings } from '../../services/watchdog/lasting-incidents.ts'

const HOUR = 3_600_000
const OPENED = 1_000 * HOUR

const open: Incident = {
  id: 7,
  cause: 'silent:w1',
  kind: 'silent',
  agent: 'w1',
  summary: 'w1 was not heard',
  openedAt: OPENED,
  closedAt: null,
  outcome: null,
  retold: 0,
}

/** How often it is told again by then, `seenFor` hours after this watchdog saw it open and `byWall` after it was opened. */
function timesAfter(seenFor: number, byWall: number, incident: Incident = open): number {
  const at = { now: seenFor * HOUR, wall: OPENED + byWall * HOUR }
  return planRetellings([incident], new Map([[7, 0]]), at)[0]?.times ?? 0
}

test('an incident is told again after one hour and after eight, and then no more', () => {
  assert.deepEqual(
    [0.5, 0.999, 1, 7.9, 8, 100].map((hours) => timesAfter(hours, hours)),
    [0, 0, 1, 1, 2, 2],
  )
  assert.equal(timesAfter(2, 2, { ...open, retold: 1 }), 0)
  assert.equal(timesAfter(9, 9, { ...open, retold: 1 }), 2)
  assert.equal(timesAfter(100, 100, { ...open, retold: 2 }), 0)
})

test('a clock that was put back silences nobody, and a watchdog that is new goes by the wall clock', () => {
  assert.equal(timesAfter(1, -2), 1)
  assert.equal(timesAfter(0, 1), 1)
  assert.equal(planRetellings([open], new Map(), { now: 5 * HOUR, wall: OPENED }).length, 0, 'not seen before')
})

test('a claim to start an agent is told to nobody', () => {
  assert.equal(timesAfter(9, 9, { ...open, kind: 'restart' }), 0)
})
