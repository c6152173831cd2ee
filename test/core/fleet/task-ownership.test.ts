import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { applyShownStatus, applyTaskMessage } from '#fleet/foreign-tasks.ts'
import { failureIncident, type OwnershipDecision } from '#fleet/ownership-decision.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isLeased, isOpen, type Task } from '#fleet/task.ts'
import { countedAttempts } from '#fleet/task-attempts.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import { applyCancel, applyEnding, applyMove, applyReminder, beginTask, decideLease } from '#fleet/task-ownership.ts'
import { applyReport } from '#fleet/task-reports.ts'

const SEATS: readonly SessionId[] = ['conv_1/b', 'conv_2/b', 'conv_3/b']
const seat = fc.constantFrom(...SEATS)
/** Either end of a conversation that has to do with the task. */
const end = fc.constantFrom<SessionId>(...SEATS, 'conv_1/a', 'conv_2/a')
/** How far off the present epoch an act is. */
const off = fc.constantFrom(0, 0, 0, -1, 1)

type Act = (task: Task, now: number) => OwnershipDecision | null

const act: fc.Arbitrary<Act> = fc.oneof(
  fc.record({ holder: seat, off, state: fc.constantFrom('in_progress', 'completed', 'failed', 'returned') }).map(
    ({ holder, off, state }): Act =>
      (task, now) =>
        applyReport(task, holder, { task: task.id, epoch: task.epoch + off, state, progress: null, result: null }, now),
  ),
  fc.record({ to: fc.option(seat), off }).map(
    ({ to, off }): Act =>
      (task, now) =>
        applyMove(task, { task: task.id, epoch: task.epoch + off, to, reason: 'silent' }, now),
  ),
  fc.record({ holder: seat, incarnation: fc.constantFrom('x', 'y') }).map(({ holder, incarnation }): Act => {
    return (task, now) => decideLease([task], holder, incarnation, now).steps.at(-1) ?? null
  }),
  fc.record({ off, reason: fc.constantFrom('attempts', 'deadline', 'stalled') }).map(
    ({ off, reason }): Act =>
      (task, now) =>
        applyEnding(task, { task: task.id, epoch: task.epoch + off, reason, words: 'it has to end' }, now),
  ),
  fc.record({ off }).map(
    ({ off }): Act =>
      (task, now) =>
        applyReminder(task, task.epoch + off, now),
  ),
  fc
    .record({ from: end, off, status: fc.constantFrom('accepted', 'blocked', 'completed', 'declined', 'cancelled') })
    .map(
      ({ from, off, status }): Act =>
        (task, now) => {
          const epoch = off === 0 ? {} : { epoch: task.epoch + off }
          const letter = readTaskMessage(JSON.stringify({ type: 'status_update', task_id: task.id, status, ...epoch }))
          assert.ok(letter !== null)
          return applyTaskMessage(task, from, letter, task.epoch - 1, now)
        },
    ),
  fc.constantFrom('blocked', 'working', 'x').map(
    (word): Act =>
      (task, now) =>
        applyShownStatus(task, word, now),
  ),
  fc.constant<Act>((task, now) => applyCancel(task, now)),
)

const WANTED = { id: 'T', description: 'x', priority: 'P2', role: null, deadline: null, createdBy: null } as const

suite('who owns a task', () => {
  test('whatever happens in whatever order, one owner at a time', () => {
    fc.assert(
      fc.property(fc.option(seat), fc.array(act, { maxLength: 30 }), (holder, acts) => {
        let { task } = beginTask({ ...WANTED, holder }, 0)
        for (const [index, each] of acts.entries()) {
          const decision = each(task, index + 1)
          if (decision === null || decision.refusal !== null) continue
          checkStep(task, decision.task)
          task = decision.task
        }
      }),
      { numRuns: 1_000 },
    )
  })

  test('only what a lost holder had begun becomes P0, also where its last life ended in the middle of it', () => {
    const lose = (task: Task): string | undefined =>
      applyMove(task, { task: task.id, epoch: task.epoch, to: 'conv_2/b', reason: 'gone' }, 9)?.task.priority
    const lease = (task: Task, incarnation: string): Task =>
      decideLease([task], 'conv_1/b', incarnation, 1).steps.at(-1)?.task ?? task
    const { task } = beginTask({ ...WANTED, holder: 'conv_1/b' }, 0)
    assert.equal(lose(task), 'P2')
    const begun = lease(task, 'x')
    assert.equal(lose(begun), 'P0')
    const [interrupted] = decideLease([lease({ ...begun, attempts: [] }, 'y')], 'conv_1/b', 'z', 2).steps
    assert.ok(interrupted)
    assert.deepEqual([interrupted.task.state, lose(interrupted.task)], ['assigned', 'P0'])
    const handedOn = applyMove(begun, { task: 'T', epoch: 1, to: 'conv_3/b', reason: 'stalled' }, 3)?.task
    assert.ok(handedOn)
    assert.equal(lose({ ...handedOn, priority: 'P2' }), 'P2', 'another had begun it')
  })

  test('people are told the last lines of a failure, in one line, with how it ended, and cut between characters', () => {
    const { task } = beginTask({ ...WANTED, holder: 'conv_1/b' }, 0)
    const tail = `${'a line of noise\n'.repeat(200)}${'\u{1f680}'.repeat(210)}x\n\nthe last line\n`
    const result = { exitCode: 3, signal: null, tail }
    const decision = applyReport(task, 'conv_1/b', { task: 'T', epoch: 1, state: 'failed', progress: null, result }, 1)
    assert.ok(decision.refusal === null && decision.failure !== undefined)
    const { summary } = failureIncident(decision.failure, 'w1')
    assert.match(summary, /^task T failed at w1: exit code 3: …\u{1f680}+x the last line; s2 task show T says more$/u)
    assert.ok(summary.length < 480, `${summary.length} characters`)
    assert.equal(summary, summary.toWellFormed())
  })

  test('that a holder goes on to report a task that it gave back itself is refused, and no evidence of anything', () => {
    const { task } = beginTask({ ...WANTED, holder: 'conv_1/b' }, 0)
    const begun = decideLease([task], 'conv_1/b', 'x', 1).task
    assert.ok(begun)
    const say = (before: Task, holder: SessionId, state: 'in_progress' | 'returned'): OwnershipDecision =>
      applyReport(before, holder, { task: 'T', epoch: 1, state, progress: null, result: null }, 2)
    const returned = say(begun, 'conv_1/b', 'returned')
    assert.ok(returned.refusal === null)
    const late = say(returned.task, 'conv_1/b', 'in_progress')
    assert.deepEqual([late.refusal?.code, late.refusal !== null && late.evidence], ['stale_epoch', null])
    assert.match(late.refusal?.next ?? '', /gave it back/)
    const other = say(returned.task, 'conv_2/b', 'in_progress')
    assert.ok(other.refusal !== null && other.evidence !== null)
  })

  test('that a task has its first holder is no move that its giver is told of', () => {
    const { task } = beginTask({ ...WANTED, createdBy: 'conv_9/a', holder: null }, 0)
    const told = (step: ReturnType<typeof applyMove>): string[] =>
      step?.messages.map(({ to, taskMessage }) => `${to} ${taskMessage.type}`) ?? []
    const given = applyMove(task, { task: 'T', epoch: 1, to: 'conv_1/b', reason: 'unassigned' }, 1)
    assert.deepEqual(told(given), ['conv_1/b task_assignment'])
    assert.ok(given)
    const taken = applyMove(given.task, { task: 'T', epoch: 2, to: null, reason: 'silent' }, 2)
    assert.ok(taken)
    const again = applyMove(taken.task, { task: 'T', epoch: 3, to: 'conv_2/b', reason: 'unassigned' }, 3)
    assert.deepEqual(told(again), ['conv_2/b task_assignment', 'conv_9/a task_moved'])
  })

  test('a holder that shows that it waits has a task that is blocked, until it shows that it goes on', () => {
    const { task } = beginTask({ ...WANTED, holder: 'conv_1/b' }, 0)
    const show = (before: Task, word: string): Task | undefined => applyShownStatus(before, word, 7)?.task
    const blocked = show(task, 'waiting')
    assert.deepEqual(blocked, { ...task, progress: 'blocked: its status says waiting', updatedAt: 7 })
    assert.ok(blocked)
    assert.deepEqual(show(blocked, 'Working'), { ...task, updatedAt: 7 })
    assert.equal(show(task, 'complete'), undefined)
    const said = { ...task, progress: 'blocked: no disk' }
    assert.equal(show(said, 'blocked'), undefined, 'a reason is better than none')
    assert.equal(show({ ...task, state: 'completed' }, 'blocked'), undefined)
  })
})

function checkStep(before: Task, after: Task): void {
  assert.ok(after.epoch === before.epoch || after.epoch === before.epoch + 1, 'epochs rise one by one')
  if (!isOpen(before.state)) assert.equal(after, before, 'an end is an end')
  if (after.holder !== before.holder) assert.ok(after.epoch > before.epoch, 'a new owner has a new epoch')
  const isTakenOver = isLeased(before.state) && isLeased(after.state) && before.incarnation !== after.incarnation
  if (isTakenOver) assert.ok(after.epoch > before.epoch, 'a new life has a new epoch')
  assert.equal(after.holder === null, after.state === 'pending' || (!isOpen(after.state) && before.holder === null))
  const running = after.attempts.filter(({ end }) => end === null)
  assert.ok(running.length <= 1, 'one start at a time')
  if (isLeased(after.state)) assert.equal(running[0]?.holder, after.holder, 'a lease is a start')
  else assert.deepEqual(running, [], 'a start ends with its lease')
  assert.ok(countedAttempts(after) >= countedAttempts(before) || after.attempts.length === before.attempts.length)
  assert.ok(after.leaseSeq >= before.leaseSeq)
  assert.ok(after.moves === before.moves || after.moves === before.moves + 1)
}
