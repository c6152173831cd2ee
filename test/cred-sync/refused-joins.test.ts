import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordingLog } from '#runtime/log.ts'
import { RefusedJoins } from '../../services/cred-sync/refused-joins.ts'
import { ManualClock } from '../manual-clock.ts'

test('refused requests to join are told one by one, and those of a flood by their number', async () => {
  const clock = new ManualClock()
  const log = recordingLog()
  const joins = new RefusedJoins({ clock, log })
  for (let n = 0; n < 500; n += 1) joins.note(`reason ${n}`)
  assert.equal(log.records.length, 10)
  await clock.advance(60_000)
  joins.note('a later one')
  const [more, later] = log.records.slice(10)
  assert.deepEqual([more?.event, more?.fields.count], ['more join requests refused', 490])
  assert.deepEqual([later?.event, later?.fields.why], ['join request refused', 'a later one'])
  assert.equal(log.records.length, 12)
})
