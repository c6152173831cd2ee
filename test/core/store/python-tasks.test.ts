/** Tasks of agents that speak the Python bridge's protocol, as that bridge's users mean them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { systemClock } from '#runtime/clock.ts'
import { pythonTime } from '#store/sqlite/python/python-format.ts'
import type { Store } from '#store/store.ts'
import { Ground, type Neighbour, noPython, openChannel, refused } from './sqlite-ground.ts'

interface Talk {
  readonly id: string
  readonly a: SessionId
  readonly b: SessionId
  say(side: 'a' | 'b', message: object): Promise<unknown>
  read(side: 'a' | 'b'): Promise<readonly Readonly<Record<string, string>>[]>
}

interface Stage extends AsyncDisposable {
  readonly ground: Ground
  readonly store: Store
  readonly python: Neighbour
  talk(role: string): Promise<Talk>
  /** Upkeep, with clocks that are a second further. */
  tend(): Promise<void>
  pass(ms: number): void
}

async function makeStage(): Promise<Stage> {
  let ahead = 0
  const clock = { ...systemClock, wall: () => systemClock.wall() + ahead, now: () => systemClock.now() + ahead }
  const ground = await Ground.make({ clock })
  const store = await ground.open()
  const python = await ground.startPython()
  return {
    ground,
    store,
    python,
    pass: (ms) => {
      ahead += ms
    },
    tend: async () => {
      ahead += 1_100
      for (let round = 0; round < 3; round += 1) await store.tend()
    },
    talk: async (role) => {
      const made = await python.call('create_conversation', { my_role: 's2-orchestrator', partner_role: role })
      const id = String(made.conversation_id)
      const as = (side: 'a' | 'b') => ({ conversation_id: id, session_id: side, token: String(made[side]) })
      return {
        id,
        a: sessionId(id, 'a'),
        b: sessionId(id, 'b'),
        say: (side, message) =>
          python.call('send_to_partner', {
            ...as(side),
            message: JSON.stringify(message),
            action_type: 'task_assignment',
          }),
        read: async (side) => (await python.call('check_messages', as(side))).messages as never,
      }
    },
    [Symbol.asyncDispose]: () => ground[Symbol.asyncDispose](),
  }
}

const give = (id: string, description = 'Run pytest suite', more: object = {}): object => {
  return { type: 'task_assignment', task_id: id, description, priority: 'P1', ...more }
}
const done = (id: string, result: string): object => {
  return { type: 'status_update', task_id: id, status: 'completed', result }
}

async function held(store: Store, by: SessionId): Promise<Task[]> {
  return (await store.tasks({})).filter(({ holder }) => holder === by)
}

const python = (title: string, play: (stage: Stage) => Promise<void>): void => {
  test(title, { skip: noPython }, async () => {
    await using stage = await makeStage()
    await play(stage)
  })
}

python('one id for two workers is two tasks, and each completion counts for its own', async (stage) => {
  const { store } = stage
  const [one, other] = [await stage.talk('worker-1-backend'), await stage.talk('worker-2-frontend')]
  await one.say('a', give('task-1', 'the backend'))
  await other.say('a', give('task-1', 'the frontend'))
  await stage.tend()
  await other.say('b', done('task-1', 'frontend done'))
  await stage.tend()
  const [mine] = await held(store, one.b)
  const [theirs] = await held(store, other.b)
  assert.deepEqual([mine?.description, mine?.state], ['the backend', 'assigned'])
  assert.deepEqual(
    [theirs?.description, theirs?.state, theirs?.result?.tail],
    ['the frontend', 'completed', 'frontend done'],
  )
})

python('an id that is given again once its task has ended is a new attempt', async (stage) => {
  const { store } = stage
  const one = await stage.talk('worker-1-backend')
  await one.say('a', give('task-1'))
  await one.say('b', done('task-1', 'first'))
  await stage.tend()
  await one.say('a', give('task-1'))
  await one.say('a', give('task-1'))
  await stage.tend()
  assert.deepEqual(
    (await held(store, one.b)).map(({ state }) => state),
    ['completed', 'assigned'],
  )
  await one.say('b', done('task-1', 'second'))
  await stage.tend()
  assert.deepEqual(
    (await held(store, one.b)).map(({ result }) => result?.tail),
    ['first', 'second'],
  )
})

for (const cancel of [
  { type: 'status_update', status: 'cancelled' },
  { type: 'task_cancelled' },
  { type: 'task_cancellation' },
]) {
  python(`its giver withdraws a task by ${JSON.stringify(cancel)}`, async (stage) => {
    const { store } = stage
    const [one, other] = [await stage.talk('worker-1'), await openChannel(store, 's2-worker-2')]
    for (const id of ['here', 'moved']) await one.say('a', give(id))
    await stage.tend()
    await store.move({ task: 'moved', epoch: 1, to: other.b, reason: 'silent' })
    for (const id of ['here', 'moved']) await one.say('a', { ...cancel, task_id: id })
    await stage.tend()
    for (const id of ['here', 'moved']) assert.equal((await store.task(id)).state, 'cancelled')
    assert.match((await store.unacked(other.b, 0, 9)).at(-1)?.text ?? '', /task_revoked/)
    assert.deepEqual(await store.incidents({ open: false }), [])
  })
}

for (const [type, state] of [
  ['task_completed', 'completed'],
  ['task_failed', 'failed'],
  ['completion', 'completed'],
  ['task_declined', 'failed'],
] as const) {
  python(`a message of type ${type} ends a task as ${state}`, async (stage) => {
    const one = await stage.talk('worker-1')
    await one.say('a', give('T'))
    await one.say('b', { type, task_id: 'T', summary: 'so it is' })
    await stage.tend()
    assert.equal((await stage.store.task('T')).state, state)
  })
}

python('a type that nobody knows is kept as mail, and named once', async (stage) => {
  const one = await stage.talk('worker-1')
  for (let round = 0; round < 3; round += 1)
    await one.say('a', { type: 'test_task', task_id: 's2-comms-test', description: 'x' })
  await stage.tend()
  assert.deepEqual(await stage.store.tasks({}), [])
  assert.equal((await stage.store.unacked(one.b, 0, 9)).length, 3)
  const told = stage.ground.log.records.filter(({ fields }) => fields.type === 'test_task')
  assert.equal(told.length, 1)
})

python('a moved task reaches an agent of the Python bridge in the words of its protocol', async (stage) => {
  const { store } = stage
  const [from, to] = [await stage.talk('worker-3-tests'), await stage.talk('worker-6-review')]
  await from.say('a', give('idle-recovery-test', 'Run pytest suite', { timeout: 300 }))
  await from.say('b', { type: 'acknowledgment', task_id: 'idle-recovery-test' })
  await stage.tend()
  await store.move({ task: 'idle-recovery-test', epoch: 1, to: to.b, reason: 'silent' })
  const [letter] = await to.read('b')
  assert.equal(letter?.action_type, 'task_assignment')
  const { type, task_id, description, priority, original_assignee } = JSON.parse(letter?.message ?? '{}')
  assert.deepEqual(
    { type, task_id, description, priority, original_assignee },
    {
      type: 'task_assignment',
      task_id: 'idle-recovery-test-reassigned',
      description: 'Run pytest suite (reassigned from worker-3-tests)',
      priority: 'P0',
      original_assignee: 'worker-3-tests',
    },
  )
  await to.say('b', done('idle-recovery-test-reassigned', 'pytest passed (12 tests)'))
  await stage.tend()
  assert.equal((await store.task('idle-recovery-test')).result?.tail, 'pytest passed (12 tests)')
  assert.deepEqual((await from.read('a')).map(({ message }) => JSON.parse(message ?? '{}').task_id).slice(-2), [
    'idle-recovery-test',
    'idle-recovery-test',
  ])
})

python('a moved task reaches a worker of S2 by its id, with its own priority and who had it first', async (stage) => {
  const { store } = stage
  const [from, to] = [await stage.talk('worker-3-tests'), await openChannel(store, 's2-worker-6')]
  await from.say('a', give('T'))
  await stage.tend()
  await store.move({ task: 'T', epoch: 1, to: to.b, reason: 'silent' })
  const [letter] = await store.unacked(to.b, 0, 9)
  assert.equal(letter?.action, 'task_assignment')
  const { task_id, description, priority, original_assignee } = JSON.parse(letter?.text ?? '{}')
  assert.deepEqual(
    [task_id, description, priority, original_assignee],
    ['T', 'Run pytest suite', 'P1', 'worker-3-tests'],
  )
})

python(
  'who was heard last for a session says in which words it is told of tasks, also after a restart',
  async (stage) => {
    const { ground, store } = stage
    const from = await stage.talk('worker-3-tests')
    const channel = await openChannel(store, 'codex')
    const as = { conversation_id: channel.opened.id, session_id: 'b', token: channel.opened.tokens.b }
    await stage.tend()
    await stage.python.call('update_my_status', { ...as, status: 'blocked' })
    await stage.tend()
    await from.say('a', give('T'))
    await from.say('a', give('U'))
    await stage.tend()
    const told = async (by: Store): Promise<unknown[]> =>
      (await by.unacked(channel.b, 0, 9)).map(({ text }) => JSON.parse(text).task_id)
    await store.move({ task: 'T', epoch: 1, to: channel.b, reason: 'silent' })
    assert.deepEqual(await told(store), ['T-reassigned'])
    await store.pulses(0)
    await store[Symbol.asyncDispose]()
    const again = await ground.open()
    await again.tend()
    await again.remindTask('T', 2)
    await again.move({ task: 'U', epoch: 1, to: channel.b, reason: 'silent' })
    assert.deepEqual(await told(again), ['T-reassigned', 'T-reassigned', 'U-reassigned'])
    await again.beat([{ session: channel.b, host: 'box', incarnation: 'one', seq: 1, work: 0 }])
    await from.say('a', give('V'))
    await again.tend()
    await again.move({ task: 'V', epoch: 1, to: channel.b, reason: 'silent' })
    assert.deepEqual((await told(again)).at(-1), 'V')
  },
)

python('a task that goes on elsewhere keeps its name there, also on its way back', async (stage) => {
  const { store } = stage
  const [one, other] = [await stage.talk('worker-1'), await stage.talk('worker-2')]
  await one.say('a', give('T'))
  await other.say('a', give('T', 'another'))
  await stage.tend()
  await store.move({ task: 'T', epoch: 1, to: other.b, reason: 'silent' })
  const idOf = async (talk: Talk): Promise<unknown> =>
    JSON.parse((await talk.read('b')).at(-1)?.message ?? '{}').task_id
  assert.equal(await idOf(other), 'T-reassigned')
  await store.move({ task: 'T', epoch: 2, to: one.b, reason: 'silent' })
  assert.deepEqual([await idOf(one), await idOf(other)], ['T', 'T-reassigned'], 'the second says that it is revoked')
  await store.move({ task: 'T', epoch: 3, to: other.b, reason: 'silent' })
  assert.equal(await idOf(other), 'T-reassigned')
  await other.say('b', done('T', 'the other one'))
  await other.say('b', done('T-reassigned', 'this one'))
  await stage.tend()
  assert.equal((await store.task('T')).result?.tail, 'this one')
  assert.equal((await store.task('T.2')).result?.tail, 'the other one')
})

python('a role that no other worker has keeps a task from nobody', async (stage) => {
  const { store } = stage
  const [alone, one, other] = [await stage.talk('worker-3-tests'), await stage.talk('docs'), await stage.talk('docs')]
  await alone.say('a', give('alone'))
  await one.say('a', give('shared'))
  await other.say('a', give('named', 'x', { role: 'review' }))
  await stage.tend()
  const roles = (await store.tasks({})).map(({ id, role }) => [id, role])
  assert.deepEqual(roles, [
    ['alone', null],
    ['shared', 'docs'],
    ['named', 'review'],
  ])
})

for (const isMoved of [false, true]) {
  python(
    `an orchestrator that reassigns a task itself, ${isMoved ? 'after' : 'before'} S2, speaks of the same task`,
    async (stage) => {
      const { store } = stage
      const [from, to] = [await stage.talk('worker-3-tests'), await stage.talk('worker-6-review')]
      await from.say('a', give('T'))
      await stage.tend()
      if (isMoved) await store.move({ task: 'T', epoch: 1, to: to.b, reason: 'silent' })
      await to.say(
        'a',
        give('T-reassigned', 'Run pytest (reassigned from Worker-3)', {
          priority: 'P0',
          original_assignee: 'worker-3-tests',
        }),
      )
      await stage.tend()
      const [task, ...others] = await store.tasks({})
      assert.deepEqual(others, [])
      assert.deepEqual([task?.id, task?.holder, task?.epoch, task?.priority], ['T', to.b, 2, 'P0'])
      await to.say('b', done('T-reassigned', 'passed'))
      await stage.tend()
      assert.equal((await store.task('T')).state, 'completed')
    },
  )
}

python('a late report keeps the epoch that its writer had', async (stage) => {
  const { store } = stage
  const [one, other] = [await stage.talk('worker-1'), await stage.talk('worker-2')]
  await one.say('a', give('T'))
  await stage.tend()
  await store.move({ task: 'T', epoch: 1, to: other.b, reason: 'silent' })
  await one.say('b', done('T', 'late'))
  await stage.tend()
  const [late] = await store.evidence('T')
  assert.deepEqual([late?.report.epoch, late?.report.result?.tail], [1, 'late'])
})

python('a task is there to be leased as soon as its message is', async (stage) => {
  const one = await stage.talk('worker-1')
  await stage.tend()
  await one.say('a', give('T'))
  assert.equal((await stage.store.leaseTask(one.b, 'life'))?.id, 'T')
})

python('a holder that reports on a task that its giver has withdrawn is told at once', async (stage) => {
  const one = await stage.talk('worker-1')
  await one.say('a', give('T'))
  assert.equal((await stage.store.leaseTask(one.b, 'life'))?.id, 'T')
  await one.say('a', { type: 'task_cancelled', task_id: 'T' })
  const report = { task: 'T', epoch: 1, state: 'in_progress', progress: null, result: null } as const
  await refused('conflict', stage.store.report(one.b, report))
})

python('a task is there to be leased also behind messages that say nothing of tasks', async (stage) => {
  const one = await stage.talk('worker-1')
  await stage.tend()
  stage.ground.look((database) => {
    const insert = database.prepare(
      "INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES (?, 'b', 'a', 'x', '')",
    )
    database.transaction(() => {
      for (let index = 0; index < 2_500; index += 1) insert.run(one.id)
    })()
  })
  await one.say('a', give('T'))
  assert.equal((await stage.store.leaseTask(one.b, 'life'))?.id, 'T')
})

python('a report that was sent before its conversation ended counts', async (stage) => {
  const { store } = stage
  const one = await stage.talk('worker-1')
  await one.say('a', give('T'))
  await stage.tend()
  await one.say('b', done('T', 'in time'))
  await store.endConversation(one.id)
  await store.conversations()
  await stage.tend()
  assert.equal((await store.task('T')).state, 'completed')
})

python('an assignment in a conversation that has ended is no task, and is told once', async (stage) => {
  const { ground, store } = stage
  const [one, other] = [await stage.talk('worker-1'), await stage.talk('worker-2')]
  await one.say('a', give('T'))
  await stage.tend()
  await one.read('b')
  await other.read('b')
  const late = (talk: Talk): void =>
    ground.look((database) => {
      database
        .prepare(
          "INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES (?, 'a', 'b', ?, '2026-01-01T00:00:00.000000')",
        )
        .run(talk.id, JSON.stringify(give('late')))
    })
  await one.say('b', { type: 'question' })
  ground.look((database) =>
    database.prepare('UPDATE conversations SET expires_at = ? WHERE id = ?').run(pythonTime(Date.now()), one.id),
  )
  late(one)
  await store.endConversation(other.id)
  late(other)
  stage.pass(60_000)
  await stage.tend()
  assert.deepEqual(
    (await store.tasks({})).map(({ id }) => id),
    ['T'],
  )
  const told = async (by: Store): Promise<string[]> =>
    (await by.incidents({ open: false })).map(({ summary }) => summary.replace(/conv_\w+/, 'conv'))
  const expected = [
    'conv (s2-orchestrator, worker-1) has ended with 1 message that worker-1 had not read and 1 message that s2-orchestrator had not read; a task among them is none: open a new conversation and send them again',
    'conv (s2-orchestrator, worker-2) has ended with 1 message that worker-2 had not read; a task among them is none: open a new conversation and send them again',
  ]
  assert.deepEqual((await told(store)).sort(), expected)
  await store[Symbol.asyncDispose]()
  const again = await ground.open()
  for (let minutes = 0; minutes < 3; minutes += 1) {
    stage.pass(60_000)
    await again.tend()
  }
  assert.deepEqual((await told(again)).sort(), expected)
})

python(
  'what S2 itself wrote into a conversation that has ended, and what ended before S2 came, is told to nobody',
  async (stage) => {
    const { ground, store } = stage
    const [one, other] = [await stage.talk('worker-1'), await stage.talk('worker-2')]
    await one.say('a', give('T'))
    await stage.tend()
    await one.read('b')
    await store.move({ task: 'T', epoch: 1, to: other.b, reason: 'silent' })
    await one.say('b', { type: 'status_update', task_id: 'T', status: 'completed', result: 'late' })
    await one.read('a')
    await store.endConversation(one.id)
    const old = await stage.talk('worker-9')
    await old.say('a', give('old'))
    ground.look((database) =>
      database
        .prepare('UPDATE conversations SET expires_at = ? WHERE id = ?')
        .run(pythonTime(Date.now() - 3_600_000), old.id),
    )
    stage.pass(60_000)
    await stage.tend()
    assert.deepEqual(await store.incidents({ open: false }), [])
  },
)

/** Inserts as a foreign program does that chooses the ids of its rows. */
function insertWithId(ground: Ground, id: number, conversation: string, message: object): void {
  const insert = `INSERT INTO messages (id, conversation_id, from_session, to_session, message, timestamp)
    VALUES (?, ?, 'a', 'b', ?, '2026-01-01T00:00:00.000000')`
  ground.look((database) => database.prepare(insert).run(id, conversation, JSON.stringify(message)))
}

python(
  'a task whose message got an id below those that were taken in is taken in within a minute, once',
  async (stage) => {
    const { ground, store } = stage
    const one = await stage.talk('worker-1')
    await stage.tend()
    insertWithId(ground, 1000, one.id, give('high'))
    await stage.tend()
    insertWithId(ground, 500, one.id, give('low'))
    stage.pass(60_000)
    await stage.tend()
    const names = async (): Promise<string[]> => (await held(store, one.b)).map(({ id }) => id)
    assert.deepEqual(await names(), ['high', 'low'])
    for (const id of ['high', 'low']) await one.say('b', done(id, 'well'))
    for (let minutes = 0; minutes < 3; minutes += 1) {
      insertWithId(ground, 501 + minutes, one.id, { type: 'question' })
      stage.pass(60_000)
      await stage.tend()
    }
    assert.deepEqual(
      (await held(store, one.b)).map(({ id, state }) => [id, state]),
      [
        ['high', 'completed'],
        ['low', 'completed'],
      ],
    )
  },
)

python('what a database of an earlier version has taken in is not taken in again', async (stage) => {
  const { ground, store } = stage
  const one = await stage.talk('worker-1')
  await one.say('a', give('T'))
  await one.say('b', done('T', 'well'))
  await stage.tend()
  await store[Symbol.asyncDispose]()
  ground.look((database) => {
    database.exec("DELETE FROM s2_letters; DELETE FROM s2_cursors WHERE name = 'letters_recorded'")
  })
  const again = await ground.open()
  for (let minutes = 0; minutes < 3; minutes += 1) {
    insertWithId(ground, 1000 + minutes, one.id, { type: 'question' })
    stage.pass(60_000)
    for (let round = 0; round < 3; round += 1) await again.tend()
  }
  assert.deepEqual(
    (await held(again, one.b)).map(({ state }) => state),
    ['completed'],
  )
})

python('over a table of messages that was emptied no round wants the write lock', async (stage) => {
  const { ground, store } = stage
  const one = await stage.talk('worker-1')
  insertWithId(ground, 1000, one.id, { type: 'question' })
  await stage.tend()
  ground.look((database) => database.exec('DELETE FROM messages'))
  await stage.tend()
  const database = new Database(ground.path)
  try {
    database.exec('BEGIN IMMEDIATE')
    assert.notEqual(await store.tend(), 0, 'the round is done')
  } finally {
    database.close()
  }
})
