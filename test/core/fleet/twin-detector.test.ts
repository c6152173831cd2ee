import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObservedBeat } from '#fleet/beat.ts'
import { Roster } from '#fleet/failure-detector.ts'
import { sessionId } from '#fleet/session-id.ts'
import { TWINS_OVER_MS } from '#fleet/twin-detector.ts'

const SESSION = sessionId('conv_00000000000000aa', 'b')
let version = 0

function beat(incarnation: string, host = incarnation): ObservedBeat {
  version += 1
  return { session: SESSION, host, incarnation, seq: version, work: 0, version }
}

function roster(): Roster {
  const made = new Roster({ lateAfterMs: 15_000, silentAfterMs: 60_000 })
  for (const _ of made.learn([{ name: 's2-worker-3', role: 'tests', sessions: [SESSION] }], () => 0));
  return made
}

test('a host that restarts, however often, is no twin', () => {
  const fleet = roster()
  for (let at = 0; at < 20; at += 1) fleet.hear([beat(`run ${at}`, 'box')], at * 1_000)
  assert.deepEqual(fleet.twins(20_000), [])
})

test('a run that beats again after it was replaced runs beside its successor, and is told until it is over', () => {
  const fleet = roster()
  fleet.hear([beat('one')], 1_000)
  fleet.hear([beat('two')], 2_000)
  assert.deepEqual(fleet.twins(2_000), [], 'a successor alone proves nothing')
  fleet.hear([beat('one')], 3_000)
  assert.deepEqual(fleet.twins(3_000), [{ agent: 's2-worker-3', hosts: ['one', 'two'], at: 3_000 }])
  fleet.hear([beat('one')], 4_000)
  assert.equal(fleet.twins(3_000 + TWINS_OVER_MS).length, 1)
  assert.equal(fleet.twins(3_001 + TWINS_OVER_MS).length, 0)
})
