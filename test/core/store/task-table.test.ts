/** What each verb of a task writes into the database: the task, messages, names, evidence, the audit trail, incidents. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { FOREIGN_INCARNATION } from '#fleet/beat.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import type { Message } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { MoveReason, NewTask, Report, Task } from '#fleet/task.ts'
import { EVIDENCE_MAX } from '#fleet/task-ownership.ts'
import { type Ends, TablesScene } from './tables-scene.ts'

/** The tables with two workers. */
class Scene extends TablesScene {
  readonly one: Ends = this.channel('w1')
  readonly two: Ends = this.channel('w2')
  readonly tasks = this.tables.tasks

  add(id: string, wanted: Partial<NewTask> = {}): Task {
    const plain = { description: 'do it', priority: 'P2', role: null, deadline: null, createdBy: null } as const
    return this.tasks.addTask({ id, ...plain, holder: this.one.b, ...wanted })
  }

  report(by: SessionId, said: Partial<Report> = {}): Task | S2Error {
    return this.tasks.report(by, report(said))
  }

  move(id: string, to: SessionId | null, reason: MoveReason = 'gone'): boolean {
    return this.tasks.move({ task: id, epoch: this.tasks.task(id).epoch, to, reason })
  }

  /** A message of an agent that knows nothing of S2, as it was read. */
  say(from: SessionId, fields: object): Message {
    const message = this.tables.messages.post(from, { text: JSON.stringify(fields) })
    this.tasks.absorb(message)
    return message
  }

  /** The types of the messages that a session has been sent. */
  told(reader: SessionId): unknown[] {
    return this.inbox(reader).map(({ type }) => type)
  }

  /** The epoch in which a session held a task last. */
  held(task: string, holder: SessionId): unknown {
    const sql = 'SELECT epoch FROM s2_task_holders WHERE task = ? AND holder = ?'
    return this.connection.get<{ epoch: number }>(sql, task, holder)?.epoch
  }

  end({ id }: Ends): void {
    this.tables.conversations.endConversation(id)
  }
}

function report(said: Partial<Report> = {}): Report {
  return { task: 'T', epoch: 1, state: 'in_progress', progress: null, result: null, ...said }
}

function ids(tasks: readonly Task[]): string[] {
  return tasks.map(({ id }) => id)
}

function refused(code: Code, act: () => unknown): void {
  assert.throws(act, (error) => error instanceof S2Error && error.code === code)
}

function assertCode(code: Code, outcome: Task | S2Error): void {
  assert.ok(outcome instanceof S2Error)
  assert.equal(outcome.code, code)
}

suite('a task in the database', () => {
  test('is read as it was written, through all that becomes of it', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    const more = { role: 'r', otherRoles: ['s', 't'], deadline: 1_750_000_900_000.4, createdBy: two.a } as const
    const added = scene.add('T', { ...more, onDeadline: 'move', onStall: 'end' })
    assert.deepEqual(tasks.task('T'), { ...added, deadline: 1_750_000_900_000 })
    assert.deepEqual(tasks.task(scene.add('U').id).deadline, null)
    for (const incarnation of ['x', 'y']) {
      const leased = tasks.leaseTask(one.b, incarnation, ['U'])
      assert.deepEqual(tasks.task('T'), leased)
    }
    assert.equal(tasks.leaseTask(one.b, 'z', ['U']), null)
    assert.deepEqual(tasks.task('T').pause, { from: scene.clock.wall(), until: scene.clock.wall() + 5_000 })
    scene.clock.pause(5_000)
    assert.equal(tasks.leaseTask(one.b, 'z', ['U'])?.epoch, 3)
    const result = { exitCode: 0, signal: null, tail: 'built' }
    const done = scene.report(one.b, { epoch: 3, state: 'completed', work: 4, result })
    assert.deepEqual(tasks.task('T'), done)
    assert.deepEqual([tasks.task('T').result, tasks.task('T').attempts.length], [result, 3])
  })

  test('added twice it is added once, and another one of its id is refused', () => {
    using scene = new Scene()
    const { one, tasks } = scene
    assert.deepEqual(scene.add('T'), tasks.task('T'))
    assert.deepEqual(scene.add('T'), tasks.task('T'))
    assert.deepEqual(
      [scene.told(one.b), scene.acts().filter((each) => each === 'task_added')],
      [['task_assignment'], ['task_added']],
    )
    refused('conflict', () => scene.add('T', { description: 'other' }))
  })

  test('that is none, or is given to or by nobody that there is, is not added', () => {
    using scene = new Scene()
    const { one } = scene
    refused('invalid', () => scene.add('not an id'))
    refused('invalid', () => scene.add('T', { createdBy: 'nobody' as SessionId }))
    refused('invalid', () => scene.add('T', { holder: 'nobody' as SessionId }))
    refused('invalid', () => scene.add('T', { holder: one.a }))
    scene.end(one)
    refused('expired', () => scene.add('T'))
    assert.equal(scene.count('s2_tasks'), 0)
    assert.equal(scene.add('T', { holder: null }).state, 'pending')
  })

  test('is found by its state, its holder and its age', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    for (const id of ['a', 'b', 'c', 'd']) scene.add(id, id === 'c' ? { holder: two.b } : {})
    tasks.cancelTask('b')
    assert.deepEqual(ids(tasks.tasks({})), ['a', 'b', 'c', 'd'])
    assert.deepEqual(ids(tasks.tasks({ open: true })), ['a', 'c', 'd'])
    assert.deepEqual(ids(tasks.tasks({ open: false })), ['b'])
    assert.deepEqual(ids(tasks.tasks({ holder: one.b })), ['a', 'b', 'd'])
    assert.deepEqual(ids(tasks.tasks({ state: 'cancelled' })), ['b'])
    assert.deepEqual(ids(tasks.tasks({ holder: two.b, state: 'assigned', open: true })), ['c'])
    assert.deepEqual(ids(tasks.tasks({ limit: 2 })), ['a', 'b'])
    assert.deepEqual(ids(tasks.tasks({ limit: 2, newest: true })), ['c', 'd'])
    refused('not_found', () => tasks.task('e'))
  })
})

suite('a lease in the database', () => {
  test('is written, audited and answered again', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    refused('invalid', () => tasks.leaseTask('nobody' as SessionId, 'x'))
    assert.equal(tasks.leaseTask(one.b, 'x'), null)
    scene.add('T')
    assert.equal(tasks.leaseTask(two.b, 'x'), null, 'of another')
    const after = scene.tables.chain.auditHead().seq
    const lease = tasks.leaseTask(one.b, 'x')
    assert.deepEqual([lease?.state, tasks.task('T'), tasks.leaseTask(one.b, 'x')], ['accepted', lease, lease])
    assert.deepEqual(scene.acts(after), ['task_leased'])
    tasks.cancelTask('T')
    assert.equal(tasks.leaseTask(one.b, 'x'), null, 'what has ended is none')
  })

  test('of lives that ended are interrupted, and each task’s new epoch is noted for its holder', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    scene.add('U', { holder: two.b })
    scene.move('U', one.b, 'not_taken')
    tasks.leaseTask(one.b, 'x', ['U'])
    tasks.leaseTask(one.b, 'y', ['T'])
    const after = scene.tables.chain.auditHead().seq
    tasks.leaseTask(one.b, 'z')
    assert.deepEqual(scene.acts(after), ['task_interrupted', 'task_interrupted', 'task_leased'])
    assert.deepEqual([tasks.task('T').epoch, scene.held('T', one.b)], [2, 2])
    assert.deepEqual([tasks.task('U').epoch, scene.held('U', one.b)], [3, 3])
  })
})

suite('a report in the database', () => {
  test('of the holder is written; of whoever never held the task it reads as if there were none', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    refused('not_found', () => scene.report(two.b))
    refused('not_found', () => tasks.foresee(two.b, report()))
    const foreseen = tasks.foresee(one.b, report({ progress: 'half' }))
    assert.deepEqual([foreseen.progress, tasks.task('T').progress], ['half', null], 'not written')
    assert.deepEqual(scene.report(one.b, { progress: 'half' }), tasks.task('T'))
    assert.equal(tasks.task('T').progress, 'half')
    const after = scene.tables.chain.auditHead().seq
    scene.report(one.b)
    assert.deepEqual(scene.acts(after), [], 'a renewal is no act')
  })

  test('of a former holder is refused, and kept with its act once for each of them', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    scene.move('T', two.b)
    scene.move('T', null)
    const said = { state: 'completed', result: { exitCode: 0, signal: null, tail: 'x' } } as const
    const after = scene.tables.chain.auditHead().seq
    refused('stale_epoch', () => tasks.foresee(one.b, report(said)))
    assert.deepEqual(tasks.evidence('T'), [])
    for (const by of [one.b, one.b, two.b]) assertCode('stale_epoch', scene.report(by, said))
    const at = scene.clock.wall()
    assert.deepEqual(tasks.evidence('T'), [
      { holder: one.b, report: report(said), at },
      { holder: two.b, report: report(said), at },
    ])
    assert.deepEqual(scene.acts(after), ['late_result_refused', 'late_result_refused'])
    assertCode('stale_epoch', scene.report(one.b, { progress: 'half' }))
    assert.equal(tasks.evidence('T').length, 3, 'another report')
    assert.equal(scene.acts(after).length, 2, 'a renewal is kept, and no act')
    assert.equal(tasks.task('T').state, 'pending')
  })

  test('after its return is refused and leaves nothing', () => {
    using scene = new Scene()
    const { one, tasks } = scene
    scene.add('T')
    tasks.leaseTask(one.b, 'x')
    scene.report(one.b, { state: 'returned' })
    assertCode('stale_epoch', scene.report(one.b))
    assert.deepEqual(tasks.evidence('T'), [])
  })

  test('that comes late for ever fills no store', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    scene.move('T', two.b)
    for (let n = 0; n <= EVIDENCE_MAX; n += 1) scene.report(one.b, { state: 'failed', progress: `${n}` })
    assert.equal(tasks.evidence('T').length, EVIDENCE_MAX)
  })
})

suite('moves and ends in the database', () => {
  test('a move is written where its epoch is the present one, and where there is such a holder', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    assert.equal(tasks.move({ task: 'T', epoch: 2, to: two.b, reason: 'gone' }), false)
    for (const to of ['nobody' as SessionId, two.a])
      refused('invalid', () => tasks.move({ task: 'T', epoch: 1, to, reason: 'gone' }))
    assert.equal(tasks.task('T').epoch, 1)
    assert.equal(scene.move('T', two.b), true)
    assert.deepEqual([tasks.task('T').holder, tasks.task('T').epoch], [two.b, 2])
    assert.deepEqual([scene.told(one.b), scene.told(one.a)], [['task_assignment', 'task_revoked'], ['task_moved']])
    assert.deepEqual(scene.told(two.b), ['task_assignment'])
    const [assignment] = scene.inbox(two.b)
    assert.equal(assignment?.original_assignee, 'w1')
    assert.equal(assignment?.task_id, 'T', 'by its id, to an agent that knows S2')
    assert.equal(scene.move('T', null), true)
    assert.deepEqual([tasks.task('T').holder, tasks.task('T').state], [null, 'pending'])
    scene.end(two)
    refused('expired', () => scene.move('T', two.b))
    refused('not_found', () => tasks.move({ task: 'U', epoch: 1, to: null, reason: 'gone' }))
  })

  test('a cancellation is written and told, and refused after another end', () => {
    using scene = new Scene()
    const { one, tasks } = scene
    scene.add('T')
    assert.equal(tasks.cancelTask('T').state, 'cancelled')
    assert.equal(tasks.task('T').state, 'cancelled')
    assert.deepEqual(scene.told(one.b), ['task_assignment', 'task_revoked'])
    scene.add('U')
    scene.report(one.b, { task: 'U', state: 'completed' })
    refused('conflict', () => tasks.cancelTask('U'))
  })

  test('an end and a reminder say whether they were written', () => {
    using scene = new Scene()
    const { one, tasks } = scene
    scene.add('T')
    assert.deepEqual([tasks.remindTask('T', 1), tasks.remindTask('T', 1)], [true, false])
    assert.deepEqual([tasks.task('T').reminded, scene.told(one.b).length], [1, 2])
    const ending = { task: 'T', epoch: 1, reason: 'attempts', words: 'it ruins them' } as const
    assert.deepEqual([tasks.endTask(ending), tasks.endTask(ending)], [true, false])
    assert.equal(tasks.task('T').state, 'failed')
  })

  test('a failure is an incident at its agent, told on every channel, and nothing else is one', () => {
    using scene = new Scene()
    const { one, tasks, tables } = scene
    scene.add('T')
    scene.report(one.b, { state: 'failed', result: { exitCode: 2, signal: null, tail: '' } })
    const [incident] = tables.incidents.incidents({ open: false })
    assert.deepEqual([incident?.kind, incident?.agent], ['task_failed', 'w1'])
    assert.equal(incident?.summary, 'task T failed at w1: exit code 2; s2 task show T says more')
    assert.equal(tables.incidents.claimAlerts(['mail'], 1_000).length, 1)
    scene.add('U')
    scene.report(one.b, { task: 'U', state: 'completed' })
    scene.add('V', { holder: null })
    tasks.endTask({ task: 'V', epoch: 1, reason: 'deadline', words: 'too late' })
    assert.deepEqual(
      tables.incidents.incidents({ open: false }).map(({ agent }) => agent),
      ['w1', null],
    )
  })

  test('who holds a task in a conversation whose row is gone is called by its session', () => {
    using scene = new Scene()
    const { one, tables } = scene
    scene.add('T')
    scene.connection.run('DELETE FROM conversations')
    scene.connection.run('DELETE FROM s2_conversations')
    tables.conversations.forgetAll()
    scene.report(one.b, { state: 'failed' })
    assert.equal(tables.incidents.incidents({ open: false })[0]?.agent, one.b)
  })

  test('into a conversation that has ended nothing is said', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    scene.end(one)
    const { length } = scene.told(one.b)
    scene.move('T', two.b)
    assert.deepEqual(
      [scene.told(one.b).length, scene.told(one.a), scene.told(two.b)],
      [length, [], ['task_assignment']],
    )
    assert.equal(tasks.task('T').holder, two.b)
  })

  test('what ended long ago is forgotten with all that belongs to it', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    const say = (id: string) => scene.say(one.a, { type: 'task_assignment', task_id: 'n', description: id })
    say('first')
    scene.say(one.b, { type: 'status_update', task_id: 'n', status: 'completed' })
    say('second')
    scene.add('open')
    scene.add('late')
    scene.move('late', two.b)
    scene.report(one.b, { task: 'late', state: 'completed' })
    for (const id of ['n.2', 'late']) tasks.cancelTask(id)
    assert.deepEqual([scene.count('s2_evidence'), scene.count('s2_task_names')], [1, 1])
    scene.clock.pause(1_000)
    scene.add('new')
    tasks.cancelTask('new')
    assert.equal(tasks.prune(scene.clock.wall()), 3)
    assert.deepEqual(ids(tasks.tasks({})), ['open', 'new'])
    assert.deepEqual([scene.count('s2_evidence'), scene.count('s2_task_names')], [0, 0])
    assert.equal(scene.count('s2_task_holders'), 2)
  })
})

suite('what messages say of tasks', () => {
  const give = (name: string, more: object = {}) => ({
    type: 'task_assignment',
    task_id: name,
    description: 'x',
    ...more,
  })
  const done = (name: string, more: object = {}) => ({
    type: 'status_update',
    task_id: name,
    status: 'completed',
    ...more,
  })

  test('counts once, and other messages say nothing', () => {
    using scene = new Scene()
    const { one, tasks } = scene
    const message = scene.say(one.a, give('n'))
    assert.equal(tasks.task('n').holder, one.b)
    const { seq } = scene.tables.chain.auditHead()
    scene.say(one.b, done('n'))
    tasks.absorb(message)
    assert.deepEqual([ids(tasks.tasks({})), scene.acts(seq)], [['n'], ['task_completed']], 'it is not given again')
    const letters = scene.count('s2_letters')
    scene.tasks.absorb(scene.tables.messages.post(one.b, { text: 'hello' }))
    assert.equal(scene.count('s2_letters'), letters)
    tasks.prune(0)
    assert.equal(scene.count('s2_letters'), letters)
    scene.tables.connection.run('DELETE FROM messages WHERE id = ?', message.id)
    tasks.prune(0)
    assert.equal(scene.count('s2_letters'), letters - 1, 'what is no more in the table is forgotten')
  })

  test('of what S2 itself wrote is never read', () => {
    using scene = new Scene()
    scene.add('T')
    const [message] = scene.tables.messages.unacked(scene.one.b, 0, 10).messages
    assert.ok(message)
    scene.tasks.cancelTask('T')
    scene.tasks.absorb(message)
    assert.equal(scene.count('s2_tasks'), 1)
  })

  test('by a conversation that has ended still counts where it reports, and gives no work', () => {
    using scene = new Scene()
    const { one, tasks } = scene
    scene.say(one.a, give('n'))
    scene.end(one)
    scene.say(one.a, give('m'))
    scene.say(one.b, done('n'))
    assert.deepEqual([ids(tasks.tasks({})), tasks.task('n').state], [['n'], 'completed'])
  })

  test('names two tasks where two conversations give work of one name, and each means its own', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    for (const { a } of [one, two]) scene.say(a, give('n', { description: a }))
    assert.deepEqual(ids(tasks.tasks({})), ['n', 'n.2'])
    scene.say(two.b, done('n'))
    assert.deepEqual([tasks.task('n').state, tasks.task('n.2').state], ['assigned', 'completed'])
    assert.ok(tasks.isKnown(two.b, 'n') && tasks.isKnown(two.b, 'n.2') && tasks.isKnown(one.b, 'n'))
    assert.ok(!tasks.isKnown(one.b, 'n.2') && !tasks.isKnown(one.b, 'm'))
  })

  test('late is refused and kept, at the epoch in which its writer held the task last', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.say(one.a, give('n'))
    scene.move('n', one.b)
    scene.move('n', two.b)
    scene.say(one.b, done('n'))
    assert.deepEqual(
      tasks.evidence('n').map(({ holder, report: { epoch } }) => [holder, epoch]),
      [[one.b, 2]],
    )
    assert.equal(tasks.task('n').state, 'assigned')
  })

  test('the status that a holder shows is kept of its open tasks', () => {
    using scene = new Scene()
    const { one, two, tasks } = scene
    scene.add('T')
    scene.add('U', { holder: two.b })
    scene.add('V')
    tasks.cancelTask('V')
    tasks.showStatus(one.b, 'waiting')
    const shown = ['T', 'U', 'V'].map((id) => tasks.task(id).progress)
    assert.deepEqual(shown, ['blocked: its status says waiting', null, null])
    tasks.showStatus(one.b, 'complete')
    assert.equal(tasks.task('T').progress, null)
  })
})

suite('an agent that knows the Python bridge alone', () => {
  const give = (name: string, description = 'x') => ({ type: 'task_assignment', task_id: name, description })

  /** Both workers are such agents. */
  function pythonScene(): Scene {
    const scene = new Scene()
    for (const { b } of [scene.one, scene.two]) scene.pythonReaders.note(b, FOREIGN_INCARNATION)
    return scene
  }

  function names(scene: Scene, reader: SessionId): unknown[] {
    return scene.inbox(reader).map(({ type, task_id }) => `${type} ${task_id}`)
  }

  test('gets new work by its id', () => {
    using scene = pythonScene()
    scene.add('T')
    scene.tasks.cancelTask('T')
    assert.deepEqual(names(scene, scene.one.b), ['task_assignment T', 'task_revoked T'])
    assert.equal(scene.count('s2_task_names'), 0)
  })

  test('gets another’s work by a reassigned name, in its own words, and may use the former one', () => {
    using scene = pythonScene()
    const { one, two, tasks } = scene
    scene.add('T')
    scene.move('T', two.b)
    const [assignment] = scene.inbox(two.b)
    const { task_id, priority, original_assignee, description } = assignment ?? {}
    assert.deepEqual(
      [task_id, priority, original_assignee, description],
      ['T-reassigned', 'P0', 'w1', 'do it (reassigned from w1)'],
    )
    assert.ok(tasks.isKnown(two.b, 'T') && tasks.isKnown(two.b, 'T-reassigned'))
    scene.move('T', two.b)
    const again = ['task_revoked T-reassigned', 'task_assignment T-reassigned']
    assert.deepEqual(names(scene, two.b), ['task_assignment T-reassigned', ...again], 'as it knows it')
    scene.move('T', one.b)
    assert.equal(names(scene, one.b).at(-1), 'task_assignment T', 'whoever had it first knows it by its id')
    scene.say(two.b, { type: 'status_update', task_id: 'T', status: 'completed' })
    assert.equal(tasks.evidence('T').length, 1)
  })

  test('gets it by a name that is free where it is told it', () => {
    using scene = pythonScene()
    const { one, two, tasks } = scene
    scene.say(two.a, give('n', 'its own'))
    scene.say(one.a, give('n'))
    assert.equal(tasks.task('n.2').holder, one.b)
    scene.move('n.2', two.b)
    assert.deepEqual(names(scene, two.b).at(-1), 'task_assignment n-reassigned', 'by the name that it had')
    scene.say(two.b, { type: 'status_update', task_id: 'n', status: 'completed' })
    assert.deepEqual([tasks.task('n').state, tasks.task('n.2').state], ['completed', 'assigned'], 'its own is meant')
    scene.say(one.a, give('n', 'a third'))
    scene.move('n.3', two.b)
    assert.deepEqual(names(scene, two.b).at(-1), 'task_assignment n-reassigned-2')
  })

  test('whose own task has a reassigned name as well means that by its former name, and no other’s', () => {
    using scene = pythonScene()
    const { one, two, tasks } = scene
    scene.say(two.a, give('n', 'its own'))
    scene.say(two.a, give('n-reassigned', 'its own'))
    scene.say(one.a, give('n'))
    scene.move('n.2', two.b)
    scene.say(two.b, { type: 'status_update', task_id: 'n', status: 'completed' })
    assert.deepEqual([tasks.task('n').state, tasks.task('n.2').state], ['completed', 'assigned'])
    assert.equal(names(scene, two.b).at(-1), 'task_assignment n-reassigned-2')
  })

  test('may call it by the name that it had, also where that is not its id', () => {
    using scene = pythonScene()
    const { one, two, tasks } = scene
    scene.say(scene.channel('w3').a, give('n', 'another’s'))
    scene.say(one.a, give('n'))
    scene.move('n.2', two.b)
    scene.say(two.b, { type: 'status_update', task_id: 'n', status: 'completed' })
    assert.deepEqual([tasks.task('n').state, tasks.task('n.2').state], ['assigned', 'completed'])
  })

  test('gives its work the role that others have as well, and none that is its own', () => {
    using scene = pythonScene()
    const { one, two, tasks, tables } = scene
    tables.conversations.disown(one.b)
    scene.say(one.a, give('n'))
    assert.equal(tasks.task('n').role, 'tests')
    scene.end(two)
    tables.conversations.openConversation({
      roles: { a: 'orchestrator', b: 'docs' },
      agents: { a: 'orchestrator', b: 'w3' },
      lifetimeMs: 60_000,
    })
    scene.say(one.a, give('m'))
    assert.equal(tasks.task('m').role, null)
  })

  test('that is told of a task by another message hears the first name that it had for it', () => {
    using scene = pythonScene()
    const { one, two, tasks } = scene
    scene.say(two.a, give('n', 'its own'))
    scene.say(one.a, give('n'))
    tasks.cancelTask('n.2')
    assert.deepEqual(names(scene, one.b), ['task_assignment n', 'task_revoked n'])
  })
})
