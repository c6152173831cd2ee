import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { WorkObserver } from '#fleet/work-observer.ts'

const TAKE_WITHIN = 30_000
const FLEET = { agentOf: () => 'w1', standing: () => undefined }

/** A task that its holder has not taken. */
const UNTAKEN: Task = {
  id: 't1',
  description: 'do t1',
  priority: 'P2',
  role: null,
  state: 'assigned',
  epoch: 1,
  holder: 'conv_w1/b',
  originalAssignee: null,
  incarnation: null,
  leaseSeq: 0,
  otherRoles: [],
  work: 0,
  attempts: [],
  pause: null,
  reminded: 0,
  onDeadline: 'fail',
  onStall: null,
  moves: 0,
  progress: null,
  result: null,
  deadline: null,
  createdBy: 'conv_w1/a',
  createdAt: 0,
  updatedAt: 0,
}

test('after a pause of the observer nobody is idle before that is found again', () => {
  const work = new WorkObserver(TAKE_WITHIN)
  const observe = (at: number): boolean => {
    work.observe([UNTAKEN], FLEET, at, at)
    return work.isIdle('w1')
  }
  assert.deepEqual([observe(0), observe(TAKE_WITHIN - 1), observe(TAKE_WITHIN)], [false, false, true])
  work.grace(600_000)
  assert.deepEqual([observe(600_001), observe(600_000 + TAKE_WITHIN - 1)], [false, false])
  assert.equal(observe(600_000 + TAKE_WITHIN), true)
})

test('an agent that could not work has its time to take a task from when it can again', () => {
  const work = new WorkObserver(TAKE_WITHIN)
  const observe = (at: number, unable: readonly string[]): readonly [boolean, number | null] => {
    work.observe([UNTAKEN], FLEET, at, at, { unable: new Set(unable) })
    return [work.isIdle('w1'), work.untakenSince(UNTAKEN, 'w1', at)]
  }
  observe(0, [])
  assert.deepEqual(observe(TAKE_WITHIN, []), [true, 0], 'it was found idle before it said why')
  assert.deepEqual(observe(300_000, ['w1']), [false, 300_000])
  assert.deepEqual(observe(300_000 + TAKE_WITHIN - 1, []), [false, 300_000])
  assert.deepEqual(observe(300_000 + TAKE_WITHIN, []), [true, 300_000])
})

test('a task that went to another and was begun there was not taken by the agent that let it lie', () => {
  const work = new WorkObserver(TAKE_WITHIN)
  const fleet = { ...FLEET, agentOf: (session: string) => session.slice('conv_'.length, -'/b'.length) }
  const told = new Set(['w1'])
  const attempt = { epoch: 2, startedAt: 1, endedAt: null, end: null, note: '' }
  const activityAfter = (holder: SessionId): string | null => {
    work.observe([UNTAKEN, { ...UNTAKEN, id: 't2' }], fleet, 0, 0, { told })
    const begun = { ...UNTAKEN, holder, epoch: 2, state: 'in_progress', attempts: [{ ...attempt, holder }] } as const
    work.observe([begun, { ...UNTAKEN, id: 't2' }], fleet, 1, 1, { told })
    return work.activityOf('w1')
  }
  assert.equal(activityAfter('conv_w2/b'), null)
  assert.equal(activityAfter('conv_w1/b'), 'took')
})
