/** What each rule of a task's owner makes of it: the task, whom it tells, and what it leaves in the audit trail. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { endNotice, failureIncident, failureInWords, giverOf, silently } from '#fleet/ownership-decision.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { MOVE_REASONS, type MoveReason, type NewTask, type Report, type Task, type TaskResult } from '#fleet/task.ts'
import {
  applyCancel,
  applyEnding,
  applyMove,
  applyReminder,
  beginTask,
  checkHolder,
  decideLease,
  endByWord,
} from '#fleet/task-ownership.ts'
import { applyReport, cleanReport, isSameReport } from '#fleet/task-reports.ts'

const [W1, W2, BOSS]: readonly [SessionId, SessionId, SessionId] = ['conv_1/b', 'conv_2/b', 'conv_9/a']
const NOW = 5_000

function begun(wanted: Partial<NewTask> = {}): Task {
  const plain = { id: 'T', description: 'do it', priority: 'P2', role: null, deadline: null, createdBy: null } as const
  return beginTask({ ...plain, holder: W1, ...wanted }, 1_000).task
}

function leased(wanted: Partial<NewTask> = {}, incarnation = 'x'): Task {
  const task = begun(wanted)
  return decideLease([task], task.holder ?? W1, incarnation, 2_000).task ?? assert.fail('no lease')
}

/** The same task after its end. */
function ended(task: Task, state: Task['state'] = 'completed'): Task {
  return { ...task, state, attempts: task.attempts.map((each) => ({ ...each, end: 'completed', endedAt: 3_000 })) }
}

function result(tail: string, how: Partial<TaskResult> = {}): TaskResult {
  return { exitCode: null, signal: null, tail, ...how }
}

function pick<T extends object, K extends keyof T>(of: T, ...names: K[]): Pick<T, K> {
  return Object.fromEntries(names.map((name) => [name, of[name]])) as Pick<T, K>
}

/** The messages of a step: to whom, and of which type. */
function told(step: { messages: readonly { to: SessionId; taskMessage: { type: string } }[] } | null): string[] {
  return (step ?? assert.fail('no step')).messages.map(({ to, taskMessage }) => `${to} ${taskMessage.type}`)
}

suite('a task begins', () => {
  test('with its holder it is assigned, and the holder is told', () => {
    const wanted = { id: 'T', description: 'do it', priority: 'P1', role: 'r', holder: W1, deadline: 9_000 } as const
    const { task, messages, act } = beginTask({ ...wanted, createdBy: null }, 1_000)
    assert.deepEqual(task, {
      ...wanted,
      ...{ createdBy: null, otherRoles: [], state: 'assigned', epoch: 1, originalAssignee: null, incarnation: null },
      ...{ leaseSeq: 0, work: 0, moves: 0, attempts: [], pause: null, reminded: 0, progress: null, result: null },
      ...{ onDeadline: 'fail', onStall: null, createdAt: 1_000, updatedAt: 1_000 },
    })
    const fields = { description: 'do it', priority: 'P1', role: 'r', originalAssignee: null, timeoutMs: 8_000 }
    assert.deepEqual(messages, [{ to: W1, taskMessage: { type: 'task_assignment', task: 'T', epoch: 1, ...fields } }])
    const details = { task: 'T', priority: 'P1', role: 'r', holder: W1 }
    assert.deepEqual(act, { actor: 'admin', action: 'task_added', details })
  })

  test('without one it waits and nobody is told; what was wanted of it is kept', () => {
    const kept = { otherRoles: ['s'], onDeadline: 'move', onStall: 'end', createdBy: BOSS } as const
    const wanted = { id: 'T', description: 'x', priority: 'P2', role: null, holder: null, deadline: null } as const
    const { task, messages, act } = beginTask({ ...wanted, ...kept }, 1)
    assert.deepEqual(pick(task, 'otherRoles', 'onDeadline', 'onStall', 'createdBy'), kept)
    assert.deepEqual([task.state, messages, act?.actor], ['pending', [], BOSS])
  })

  test('only a worker’s end of a conversation may hold one', () => {
    assert.doesNotThrow(() => checkHolder(W1))
    assert.throws(() => checkHolder(BOSS), { code: 'invalid', next: /conv_9\/b/ })
  })
})

suite('a holder asks for work', () => {
  test('the most urgent is leased: by priority, then by age, then by id', () => {
    const [first, second, third, fourth] = [
      { ...begun({ id: 'd', priority: 'P1' }), createdAt: 9 },
      { ...begun({ id: 'c' }), createdAt: 1 },
      { ...begun({ id: 'a' }), createdAt: 2 },
      { ...begun({ id: 'b' }), createdAt: 2 },
    ] as const
    for (const order of [
      [first, second, third, fourth],
      [fourth, third, second, first],
      [third, first, fourth, second],
    ]) {
      const got: string[] = []
      let rest = order
      while (rest.length > 0) {
        const { id } = decideLease(rest, W1, 'x', NOW).task ?? assert.fail('none')
        got.push(id)
        rest = rest.filter((each) => each.id !== id)
      }
      assert.deepEqual(got, ['d', 'c', 'a', 'b'])
    }
  })

  test('a lease is one start more, with a new place in the sequence', () => {
    const before = { ...begun(), work: 7, leaseSeq: 3, pause: { from: 1, until: 2 } }
    const { steps, task } = decideLease([before], W1, 'x', NOW)
    const attempt = { epoch: 1, holder: W1, startedAt: NOW, end: null, endedAt: null, note: '' }
    const lease = { state: 'accepted', incarnation: 'x', leaseSeq: 4, work: 0, pause: null, updatedAt: NOW }
    assert.deepEqual(task, { ...before, ...lease, attempts: [attempt] })
    const act = { actor: W1, action: 'task_leased', details: { task: 'T', epoch: 1, incarnation: 'x' } }
    assert.deepEqual(steps, [{ refusal: null, task, messages: [], act }])
  })

  test('what is another’s, has ended, is passed over or has a pause is not leased', () => {
    for (const [task, passing] of [
      [begun({ holder: W2 }), []],
      [ended(leased()), []],
      [begun(), ['T']],
      [{ ...begun(), pause: { from: 0, until: NOW + 1 } }, []],
    ] as const) {
      assert.deepEqual(decideLease([task], W1, 'x', NOW, passing), { steps: [], task: null })
    }
  })

  test('what this life has leased it gets again, and nothing else, though it be more urgent', () => {
    const mine = leased()
    for (const tasks of [
      [mine, begun({ id: 'U', priority: 'P0' })],
      [begun({ id: 'U', priority: 'P0' }), mine],
    ])
      assert.deepEqual(decideLease(tasks, W1, 'x', NOW), { steps: [], task: mine })
  })

  test('what another life had leased begins again with the next epoch, in which the former one is refused', () => {
    const before = { ...leased(), progress: 'half' }
    const { steps, task } = decideLease([before], W1, 'y', NOW)
    const [interrupted, lease] = steps
    assert.deepEqual([steps.length, lease?.task], [2, task])
    assert.deepEqual(pick(task ?? before, 'state', 'epoch', 'incarnation'), {
      state: 'accepted',
      epoch: 2,
      incarnation: 'y',
    })
    const [attempt] = before.attempts
    const attempts = [{ ...attempt, end: 'interrupted', endedAt: NOW, note: 'half' }]
    const waits = { state: 'assigned', epoch: 2, incarnation: null, updatedAt: NOW }
    assert.deepEqual(interrupted?.task, { ...before, ...waits, attempts })
    const details = { task: 'T', epoch: 2, incarnation: 'x', attempts: 1 }
    assert.deepEqual(interrupted?.act, { actor: W1, action: 'task_interrupted', details })
    const late = applyReport(
      task ?? before,
      W1,
      { task: 'T', epoch: 1, state: 'completed', progress: null, result: null },
      NOW,
    )
    assert.equal(late.refusal?.code, 'stale_epoch')
  })

  test('what was interrupted time and again waits before it begins once more', () => {
    const twice = decideLease([leased()], W1, 'y', NOW).task ?? assert.fail('none')
    const { steps, task } = decideLease([twice], W1, 'z', NOW)
    assert.deepEqual([task, steps.map(({ act }) => act?.action)], [null, ['task_interrupted']])
    assert.ok((steps[0]?.task.pause?.until ?? 0) > NOW)
  })
})

suite('the watchdog ends or reminds', () => {
  test('what it ends has failed: its holder is told to stop, its giver what became of it', () => {
    const before = { ...leased({ createdBy: BOSS }), progress: 'half', pause: { from: 1, until: 2 } }
    const ending = { task: 'T', epoch: 1, reason: 'deadline', words: 'too late\nby far' } as const
    const step = applyEnding(before, ending, NOW) ?? assert.fail('none')
    const [attempt] = before.attempts
    const attempts = [{ ...attempt, end: 'deadline', endedAt: NOW, note: 'half' }]
    const end = { state: 'failed', result: result('too late\nby far'), pause: null, updatedAt: NOW }
    assert.deepEqual(step.task, { ...before, ...end, attempts })
    assert.deepEqual(told(step), [`${W1} task_revoked`, `${BOSS} status_update`])
    const details = { task: 'T', epoch: 1, reason: 'deadline', attempts: 1 }
    assert.deepEqual(step.act, { actor: 'watchdog', action: 'task_ended', details })
    assert.deepEqual(step.failure, { task: 'T', epoch: 1, kind: 'task_failed', holder: W1, why: 'too late' })
  })

  test('too many attempts are a failure of their own, and where nobody holds it nobody is told to stop', () => {
    const task = begun({ holder: null, createdBy: BOSS })
    const step = applyEnding(task, { task: 'T', epoch: 1, reason: 'attempts', words: 'x' }, NOW)
    assert.deepEqual([told(step), step?.failure?.kind], [[`${BOSS} status_update`], 'task_exhausted'])
  })

  test('what has ended, or has another epoch by now, is neither ended nor moved', () => {
    for (const [task, epoch] of [
      [leased(), 2],
      [leased(), 0],
      [ended(leased()), 1],
    ] as const) {
      assert.equal(applyEnding(task, { task: 'T', epoch, reason: 'stalled', words: 'x' }, NOW), null)
      assert.equal(applyMove(task, { task: 'T', epoch, to: W2, reason: 'gone' }, NOW), null)
    }
  })

  test('a holder that has not taken its task is reminded once an epoch', () => {
    const before = { ...begun(), epoch: 3, reminded: 2 }
    const step = applyReminder(before, 3, NOW) ?? assert.fail('none')
    assert.deepEqual(step.task, { ...before, reminded: 3, updatedAt: NOW })
    assert.deepEqual(told(step), [`${W1} task_assignment`])
    assert.deepEqual(step.act, { actor: 'watchdog', action: 'task_reminded', details: { task: 'T', epoch: 3 } })
    assert.equal(applyReminder(step.task, 3, NOW), null, 'twice')
    for (const epoch of [2, 4]) assert.equal(applyReminder(before, epoch, NOW), null, 'another epoch')
    assert.equal(applyReminder({ ...leased(), epoch: 3 }, 3, NOW), null, 'it was taken')
  })
})

suite('a task is moved', () => {
  const move = (task: Task, to: SessionId | null, reason: MoveReason = 'gone') =>
    applyMove(task, { task: 'T', epoch: task.epoch, to, reason }, NOW) ?? assert.fail('none')

  test('to another holder: with the next epoch, and all three are told', () => {
    const before = { ...leased(), progress: 'half', work: 3 }
    const step = move(before, W2)
    const [attempt] = before.attempts
    const attempts = [{ ...attempt, end: 'gone', endedAt: NOW, note: 'half' }]
    assert.deepEqual(step.task, {
      ...before,
      ...{ attempts, priority: 'P0', state: 'assigned', epoch: 2, holder: W2, originalAssignee: W1, incarnation: null },
      ...{ moves: 1, progress: null, updatedAt: NOW },
    })
    const reason = 'what you ran in ended'
    assert.deepEqual(step.messages[0], { to: W1, taskMessage: { type: 'task_revoked', task: 'T', epoch: 1, reason } })
    assert.deepEqual(told(step).slice(1), [`${W2} task_assignment`, 'conv_1/a task_moved'])
    const fields = { type: 'task_moved', task: 'T', from: W1, to: W2, reason: 'gone' }
    assert.deepEqual(step.messages[2]?.taskMessage, fields)
    const details = { task: 'T', epoch: 2, from: W1, to: W2, reason: 'gone' }
    assert.deepEqual(step.act, { actor: 'watchdog', action: 'task_moved', details })
    assert.equal(move(begun(), W2, 'by_hand').act?.actor, 'admin')
  })

  test('to nobody: it waits, and its first holder stays known through every move', () => {
    const step = move(leased({ createdBy: BOSS }), null)
    assert.deepEqual(pick(step.task, 'state', 'holder', 'moves'), { state: 'pending', holder: null, moves: 1 })
    assert.deepEqual(told(step), [`${W1} task_revoked`, `${BOSS} task_moved`])
    const given = move(step.task, W2, 'unassigned')
    assert.deepEqual(told(given), [`${W2} task_assignment`, `${BOSS} task_moved`])
    assert.deepEqual(pick(given.task, 'moves', 'originalAssignee'), { moves: 1, originalAssignee: W1 })
    assert.equal(move(given.task, null).task.originalAssignee, W1)
  })

  test('what nobody had is given out: that is no move, and its giver is told nothing', () => {
    for (const createdBy of [BOSS, null]) {
      const step = move(begun({ holder: null, createdBy }), W2, 'unassigned')
      assert.deepEqual(told(step), [`${W2} task_assignment`])
      assert.deepEqual([step.task.moves, step.task.originalAssignee], [0, null])
    }
  })

  test('what a lost holder had begun becomes the most urgent, for no other reason than its loss', () => {
    const urgent = MOVE_REASONS.filter((reason) => move(leased(), W2, reason).task.priority === 'P0')
    assert.deepEqual(urgent, ['silent', 'gone', 'lease_lapsed', 'conversation_ended', 'by_hand', 'stalled'])
    assert.equal(move(begun(), W2).task.priority, 'P2', 'not begun')
    assert.equal(move(leased(), W1).task.priority, 'P2', 'it begins again where it was')
    const [attempt] = leased().attempts
    assert.ok(attempt)
    const after = (last: object) => move({ ...begun(), attempts: [{ ...attempt, ...last }] }, W2).task.priority
    assert.equal(after({ end: 'interrupted' }), 'P0')
    assert.equal(after({ end: 'sick' }), 'P2')
    assert.equal(after({ holder: W2 }), 'P2', 'another had begun it')
  })

  test('after its deadline the next holder has as long as the first one, and nobody comes after', () => {
    const late = (deadline: number | null) =>
      pick(move(begun({ deadline, onDeadline: 'move' }), W2, 'deadline').task, 'deadline', 'onDeadline')
    assert.deepEqual(late(4_000), { deadline: NOW + 3_000, onDeadline: 'fail' })
    assert.deepEqual(late(500), { deadline: NOW, onDeadline: 'fail' }, 'one that had passed at its begin')
    assert.deepEqual(late(null), { deadline: null, onDeadline: 'fail' })
    const { task } = move(begun({ deadline: 9_000, onDeadline: 'move' }), W2)
    assert.deepEqual(pick(task, 'deadline', 'onDeadline'), { deadline: 9_000, onDeadline: 'move' })
  })

  test('the new holder is told what is left of its time', () => {
    const left = (deadline: number | null) =>
      move(begun({ deadline }), W2).messages.map(
        ({ taskMessage }) => 'timeoutMs' in taskMessage && taskMessage.timeoutMs,
      )[1]
    assert.deepEqual([left(null), left(NOW - 1), left(NOW), left(NOW + 1)], [null, null, null, 1])
  })
})

suite('a task is ended by a word', () => {
  test('of its giver: the holder is told to stop, the giver that it has ended', () => {
    const before = { ...leased({ createdBy: BOSS }), pause: { from: 1, until: 2 } }
    const step = endByWord(before, BOSS, 'failed', 'no use', NOW) ?? assert.fail('none')
    const [attempt] = before.attempts
    const attempts = [{ ...attempt, end: 'failed', endedAt: NOW, note: 'no use' }]
    const end = { state: 'failed', result: result('no use'), pause: null, updatedAt: NOW }
    assert.deepEqual(step.task, { ...before, ...end, attempts })
    assert.deepEqual(told(step), [`${W1} task_revoked`, `${BOSS} status_update`])
    const details = { task: 'T', epoch: 1, exitCode: null }
    assert.deepEqual(step.act, { actor: BOSS, action: 'task_failed', details })
    assert.deepEqual(step.failure, { task: 'T', epoch: 1, kind: 'task_failed', holder: W1, why: 'no use' })
  })

  test('one that is completed is no failure; what nobody holds is revoked from nobody; an end is an end', () => {
    const step = endByWord(begun({ holder: null, createdBy: BOSS }), BOSS, 'completed', 'done', NOW)
    assert.deepEqual(
      [told(step), step?.failure, step?.act?.action],
      [[`${BOSS} status_update`], undefined, 'task_completed'],
    )
    assert.equal(endByWord(ended(leased()), BOSS, 'failed', 'x', NOW), null)
  })

  test('of a person who withdraws it: once, and not what has ended otherwise', () => {
    const before = { ...leased(), pause: { from: 1, until: 2 } }
    const step = applyCancel(before, NOW)
    assert.ok(step.refusal === null)
    const [attempt] = before.attempts
    const attempts = [{ ...attempt, end: 'cancelled', endedAt: NOW, note: '' }]
    assert.deepEqual(step.task, { ...before, state: 'cancelled', pause: null, updatedAt: NOW, attempts })
    assert.deepEqual(told(step), [`${W1} task_revoked`])
    assert.deepEqual(step.act, { actor: 'admin', action: 'task_cancelled', details: { task: 'T' } })
    assert.deepEqual(applyCancel(step.task, NOW + 1), { refusal: null, task: step.task, messages: [], act: null })
    const late = applyCancel(ended(leased()), NOW)
    assert.deepEqual([late.refusal?.code, late.act], ['conflict', null])
    const unheld = applyCancel(begun({ holder: null }), NOW, BOSS)
    assert.ok(unheld.refusal === null)
    assert.deepEqual([told(unheld), unheld.act?.actor], [[], BOSS])
  })
})

suite('a holder reports', () => {
  const report = (said: Partial<Report>): Report => ({
    ...{ task: 'T', epoch: 1, state: 'in_progress', progress: null, result: null },
    ...said,
  })
  const take = (task: Task, said: Partial<Report>, holder = W1) => applyReport(task, holder, report(said), NOW)
  const step = (task: Task, said: Partial<Report>) => {
    const outcome = take(task, said)
    assert.ok(outcome.refusal === null)
    return outcome
  }

  test('a first renewal starts the task, and only that is an act; what it does not say stays', () => {
    const before = { ...leased(), work: 2, progress: 'begun' }
    const first = step(before, {})
    assert.deepEqual(first.task, { ...before, state: 'in_progress', leaseSeq: 2, updatedAt: NOW })
    assert.deepEqual(first.act, { actor: W1, action: 'task_started', details: { task: 'T', epoch: 1 } })
    const next = step(first.task, { work: 9, progress: 'half' })
    assert.deepEqual(next.task, { ...first.task, leaseSeq: 3, work: 9, progress: 'half' })
    assert.deepEqual([next.act, next.messages], [null, []])
  })

  test('an agent that never asked for a lease takes its task by the first renewal', () => {
    const { attempts } = step(begun(), {}).task
    assert.deepEqual(attempts, [{ epoch: 1, holder: W1, startedAt: NOW, end: null, endedAt: null, note: '' }])
  })

  test('an end keeps its result and tells the giver; a failure is told to people with the reason', () => {
    const before = { ...leased({ createdBy: BOSS }), progress: 'half', pause: { from: 1, until: 2 } }
    const [attempt] = before.attempts
    const good = step(before, { state: 'completed', progress: 'all', result: result('built', { exitCode: 0 }) })
    const attempts = [{ ...attempt, end: 'completed', endedAt: NOW, note: 'built' }]
    const end = { state: 'completed', progress: 'all', result: result('built', { exitCode: 0 }), pause: null }
    assert.deepEqual(good.task, { ...before, ...end, updatedAt: NOW, attempts })
    const details = { task: 'T', epoch: 1, exitCode: 0 }
    assert.deepEqual([good.act, good.failure], [{ actor: W1, action: 'task_completed', details }, undefined])
    const summary = 'exit code 0: built'
    const fields = { type: 'status_update', task: 'T', epoch: 1, status: 'completed', summary }
    assert.deepEqual(good.messages, [{ to: BOSS, taskMessage: fields }])
    const bad = step(before, { state: 'failed', result: result('no disk', { exitCode: 3 }) })
    assert.deepEqual([bad.task.progress, bad.task.attempts[0]?.note], ['half', 'no disk'])
    const failure = { task: 'T', epoch: 1, kind: 'task_failed', holder: W1, why: 'exit code 3: no disk' }
    assert.deepEqual(bad.failure, failure)
    const bare = step(before, { state: 'failed', progress: 'said at its end' })
    assert.deepEqual([bare.failure?.why, bare.act?.details.exitCode], [null, null])
    assert.equal(bare.task.attempts[0]?.note, 'said at its end')
  })

  test('what a holder gives back is nobody’s, with the next epoch; given back again is once', () => {
    const before = { ...leased(), progress: 'half' }
    const back = step(before, { state: 'returned' })
    const [attempt] = before.attempts
    const attempts = [{ ...attempt, end: 'sick', endedAt: NOW, note: 'half' }]
    const waits = { state: 'pending', epoch: 2, holder: null, originalAssignee: W1, incarnation: null, progress: null }
    assert.deepEqual(back.task, { ...before, ...waits, attempts, updatedAt: NOW })
    assert.deepEqual(back.messages, [])
    const details = { task: 'T', epoch: 2, cause: 'sick', attempts: 0 }
    assert.deepEqual(back.act, { actor: W1, action: 'task_returned', details })
    const again = take(back.task, { state: 'returned' })
    assert.deepEqual(again, { refusal: null, task: back.task, messages: [], act: null })
    const late = take(back.task, { state: 'in_progress' })
    assert.ok(late.refusal !== null && late.evidence === null && late.act === null)
    assert.match(late.refusal.next ?? '', /you gave it back/)
    const parked = step(
      { ...before, originalAssignee: W2 },
      { state: 'returned', cause: 'parked', result: result('limit') },
    )
    assert.deepEqual(pick(parked.task, 'originalAssignee'), { originalAssignee: W2 })
    assert.deepEqual([parked.task.attempts[0]?.end, parked.task.attempts[0]?.note], ['parked', 'limit'])
  })

  test('a return of another epoch, holder or cause is no repetition', () => {
    const { task } = step(leased(), { state: 'returned' })
    for (const [said, holder] of [
      [{ epoch: 3 }, W1],
      [{}, W2],
      [{ cause: 'parked' }, W1],
    ] as const) {
      const late = take(task, { state: 'returned', ...said }, holder)
      assert.equal(late.refusal?.code, 'stale_epoch', JSON.stringify([said, holder]))
    }
  })

  test('a renewal of whoever did not give it back himself, or in another epoch, is a late one', () => {
    const { task } = step(leased(), { state: 'returned' })
    const [attempt] = task.attempts
    assert.ok(attempt)
    for (const [last, holder, epoch] of [
      [{}, W2, 1],
      [{}, W1, 3],
      [{ end: 'gone' }, W1, 1],
    ] as const) {
      const late = take({ ...task, attempts: [{ ...attempt, ...last }] }, { epoch }, holder)
      assert.ok(late.refusal !== null && late.evidence !== null, JSON.stringify([last, holder, epoch]))
      assert.match(late.refusal.next ?? '', /another owner/)
    }
  })

  test('a report of another holder or epoch is refused and kept, and only a result of it is an act', () => {
    const task = { ...leased(), epoch: 4 }
    for (const [epoch, holder] of [
      [3, W1],
      [4, W2],
    ] as const) {
      const said = { epoch, state: 'failed', result: result('x') } as const
      const late = take(task, said, holder)
      assert.ok(late.refusal !== null)
      assert.deepEqual([late.refusal.code, late.evidence], ['stale_epoch', { task: 'T', holder, report: report(said) }])
      const details = { task: 'T', epoch, state: 'failed', now: 4 }
      assert.deepEqual(late.act, { actor: holder, action: 'late_result_refused', result: 'stale_epoch', details })
    }
    const renewal = take(task, { epoch: 3 })
    assert.ok(renewal.refusal !== null)
    assert.deepEqual([renewal.act, renewal.evidence?.report], [null, report({ epoch: 3 })])
    const lateReturn = take(task, { epoch: 3, state: 'returned' })
    assert.equal(lateReturn.refusal?.code, 'stale_epoch')
  })

  test('after its end the same end again is once; another one is refused and kept, and a renewal leaves nothing', () => {
    const task = ended(leased())
    assert.deepEqual(take(task, { state: 'completed' }), { refusal: null, task, messages: [], act: null })
    const other = take(task, { state: 'failed', result: result('x') })
    assert.ok(other.refusal !== null)
    assert.deepEqual([other.refusal.code, other.evidence?.report.state], ['conflict', 'failed'])
    assert.equal(other.act?.action, 'late_result_refused')
    const renewal = take(task, {})
    assert.ok(renewal.refusal !== null)
    assert.deepEqual([renewal.refusal.code, renewal.evidence, renewal.act], ['conflict', null, null])
  })

  test('two reports say the same where every field of them does', () => {
    const full = report({ state: 'failed', progress: 'p', result: { exitCode: 1, signal: 's', tail: 't' } })
    assert.ok(isSameReport(full, structuredClone(full)))
    assert.ok(isSameReport(report({}), report({})))
    for (const other of [
      { epoch: 2 },
      { state: 'completed' },
      { progress: 'q' },
      { result: { exitCode: 2, signal: 's', tail: 't' } },
      { result: { exitCode: 1, signal: 'x', tail: 't' } },
      { result: { exitCode: 1, signal: 's', tail: 'x' } },
    ] as const)
      assert.ok(!isSameReport(full, { ...full, ...other }), JSON.stringify(other))
    assert.ok(!isSameReport(full, { ...full, result: null }))
    assert.ok(!isSameReport({ ...full, result: null }, full))
  })

  test('a report is kept with what it says alone, and no longer than it may be', () => {
    assert.deepEqual(cleanReport(report({})), report({}))
    const full = report({
      state: 'returned',
      work: 3,
      cause: 'parked',
      progress: 'p',
      result: result('t', { exitCode: 1 }),
    })
    assert.deepEqual(cleanReport({ ...full, other: 1 } as Report), full)
    const long = cleanReport(report({ progress: 'x'.repeat(9_000), result: result(`${'x'.repeat(9_000)}end`) }))
    assert.deepEqual([long.progress?.length, long.result?.tail.length], [500, 4_000])
    assert.ok(long.result?.tail.endsWith('xend'))
  })
})

suite('who is told, and in which words', () => {
  test('whoever gave a task, else the orchestrator of whoever had it last', () => {
    const attempt = (holder: SessionId) =>
      ({ epoch: 1, holder, startedAt: 1, end: 'gone', endedAt: 2, note: '' }) as const
    const task = begun({ holder: null })
    assert.equal(giverOf(task), null)
    assert.deepEqual(endNotice(task, 'failed'), [], 'then nobody')
    assert.equal(giverOf({ ...task, originalAssignee: 'conv_3/b' }), 'conv_3/a')
    const tried = { ...task, originalAssignee: 'conv_3/b', attempts: [attempt('conv_4/b'), attempt(W2)] } as const
    assert.equal(giverOf(tried), 'conv_2/a')
    assert.equal(giverOf({ ...tried, holder: W1 }), 'conv_1/a')
    assert.equal(giverOf({ ...tried, holder: W1, createdBy: BOSS }), BOSS)
  })

  test('the giver is told how it ended and what it said last', () => {
    const words = (of: TaskResult | null): unknown => {
      const [notice] = endNotice({ ...begun(), result: of }, 'failed')
      return notice !== undefined && 'summary' in notice.taskMessage && notice.taskMessage.summary
    }
    assert.equal(words(null), null)
    assert.equal(words(result('')), null)
    assert.equal(words(result(' no disk\n')), 'no disk')
    assert.equal(words(result('', { exitCode: 0 })), 'exit code 0')
    assert.equal(words(result('x', { exitCode: 1, signal: 'SIGKILL' })), 'ended by SIGKILL: x')
  })

  test('people are told the same in one line, of its last 400 characters', () => {
    assert.equal(failureInWords(result('')), null)
    assert.equal(failureInWords(result(' a\n b ')), 'a b')
    assert.equal(failureInWords(result('', { exitCode: 3 })), 'exit code 3')
    assert.equal(failureInWords(result('x', { exitCode: 3, signal: null })), 'exit code 3: x')
    assert.equal(failureInWords(result('x'.repeat(400))), 'x'.repeat(400))
    assert.equal(failureInWords(result('x'.repeat(401))), `…${'x'.repeat(399)}`)
  })

  test('a failure is an incident of its own, at its agent where there is one', () => {
    const failure = { task: 'T', epoch: 2, kind: 'task_failed', holder: W1, why: 'no disk' } as const
    const cause = 'task_failed:T@2'
    const summary = 'task T failed at w1: no disk; s2 task show T says more'
    assert.deepEqual(failureIncident(failure, 'w1'), { cause, kind: 'task_failed', agent: 'w1', summary })
    const bare = 'task T failed; s2 task show T says more'
    assert.equal(failureIncident({ ...failure, why: null }, null).summary, bare)
  })

  test('what a conversation says of itself is not repeated in it', () => {
    const moved = applyMove(leased(), { task: 'T', epoch: 1, to: W2, reason: 'gone' }, NOW) ?? assert.fail('none')
    assert.deepEqual(told(silently('conv_1/a', moved)), [`${W2} task_assignment`])
    const refused = applyCancel(ended(leased()), NOW)
    assert.equal(silently(W1, refused), refused)
  })
})
