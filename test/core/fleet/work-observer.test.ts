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

test('a list that was long under way shows what is new in it as of when the answer came', () => {
  const work = new WorkObserver(TAKE_WITHIN)
  const begun: Task = { ...UNTAKEN, id: 't2', state: 'in_progress', incarnation: 'life' }
  const other = { ...FLEET, agentOf: (session: SessionId) => (session === UNTAKEN.holder ? 'w1' : 'w2') }
  const observe = (at: number, answeredAt = at): boolean => {
    work.observe([UNTAKEN, { ...begun, holder: 'conv_w2/b' }], other, at, at, {}, answeredAt)
    return work.isIdle('w1')
  }
  assert.deepEqual([observe(0, 100_000), observe(100_001)], [false, false])
  assert.deepEqual([work.workedAt(begun), work.untakenSince(UNTAKEN, 'w1', 100_001)], [100_000, 100_000])
  assert.deepEqual([observe(100_000 + TAKE_WITHIN - 1), observe(100_000 + TAKE_WITHIN)], [false, true])
})

test('a sign of life of an agent that takes nothing counts when it has no task to take', () => {
  const work = new WorkObserver(TAKE_WITHIN)
  let signs = 1
  const agentOf = (session: SessionId): string => (session === UNTAKEN.holder ? 'w1' : 'w2')
  const fleet = { agentOf, standing: () => ({ signs }) as never }
  const observe = (at: number, tasks: readonly Task[]): unknown => {
    work.observe(tasks, fleet, at, at, { told: new Set(['w1']) })
    return work.activityOf('w1')
  }
  const lying = { ...UNTAKEN, id: 't2' }
  assert.equal(observe(0, [UNTAKEN]), null)
  assert.equal(observe(20_000, [UNTAKEN, lying]), null)
  assert.equal(observe(TAKE_WITHIN, [UNTAKEN, lying]), null)
  signs = 2
  const moved = { epoch: 2, holder: 'conv_w2/b' } as const
  const left = { ...UNTAKEN, ...moved }
  assert.equal(observe(TAKE_WITHIN + 1_000, [left, lying]), null, 'it may let this one lie as well')
  assert.equal(observe(TAKE_WITHIN + 2_000, [left, { ...lying, ...moved }]), 'showed')
})
