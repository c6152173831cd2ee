import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AskingWorkers } from '../../../services/core/fleet/asking-workers.ts'
import { sessionId } from '../../../services/core/fleet/session-id.ts'

test('a worker begins to ask with each life, and after a minute in which it did not', () => {
  const [one, other] = [sessionId('c-1', 'b'), sessionId('c-2', 'b')]
  const asking = new AskingWorkers()
  assert.equal(asking.note(one, 'run-1', 0), true)
  assert.equal(asking.note(one, 'run-1', 5_000), false)
  assert.equal(asking.note(one, 'run-1', 64_999), false)
  assert.equal(asking.note(one, 'run-1', 125_000), true, 'it was frozen meanwhile, or had a task')
  assert.equal(asking.note(one, 'run-2', 126_000), true)
  assert.equal(asking.note(other, 'run-2', 127_000), true)
  asking.forget(one)
  assert.equal(asking.note(one, 'run-2', 128_000), true)
})
