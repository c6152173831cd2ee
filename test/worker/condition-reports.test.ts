import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Condition } from '../../services/core/fleet/agent-condition.ts'
import { sessionId } from '../../services/core/fleet/session-id.ts'
import { ConditionReports } from '../../services/worker/condition-reports.ts'
import type { WorkerSession } from '../../services/worker/worker-session.ts'

test('after a try without an answer the fleet is told twice more, as the bridge may take that try last', async () => {
  const told: (Condition | null)[] = []
  let isAway = false
  const noteCondition = async (_: string, condition: Condition | null): Promise<void> => {
    if (isAway) throw new Error('no answer')
    told.push(condition)
  }
  const sessions = [{ session: sessionId('c', 'b'), store: { noteCondition } }] as unknown as WorkerSession[]
  const reports = new ConditionReports()
  const sick: Condition = { state: 'sick', why: 'no folder', until: null }
  await reports.tell(sessions)
  await reports.tell(sessions)
  assert.deepEqual(told, [null])
  isAway = true
  reports.set(sick)
  await assert.rejects(reports.tell(sessions), /no answer/)
  isAway = false
  for (let round = 0; round < 5; round += 1) await reports.tell(sessions)
  assert.deepEqual(told, [null, sick, sick, sick])
})
