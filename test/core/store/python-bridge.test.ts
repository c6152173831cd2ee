/** Side by side with the Python bridge on one file, both ways. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Roster } from '#fleet/failure-detector.ts'
import { LeaseObserver } from '#fleet/lease-observer.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import { findNeeds } from '#fleet/task-reassignment.ts'
import { systemClock } from '#runtime/clock.ts'
import {
  fromPythonMetadata,
  fromPythonTime,
  microsOfPythonTime,
  pythonMetadata,
  pythonTime,
  pythonTimeOfMicros,
} from '#store/sqlite/python/python-format.ts'
import type { Store } from '#store/store.ts'
import { until } from '../../until.ts'
import { Ground, type Neighbour, noPython, openChannel, refused } from './sqlite-ground.ts'

interface Foreign {
  readonly id: string
  readonly a: SessionId
  readonly b: SessionId
  as(side: 'a' | 'b'): { conversation_id: string; session_id: 'a' | 'b'; token: string }
}

async function createConversation(python: Neighbour): Promise<Foreign> {
  const made = await python.call('create_conversation', { my_role: 'orchestrator', partner_role: 'docs' })
  const id = String(made.conversation_id)
  const as = (side: 'a' | 'b') => ({ conversation_id: id, session_id: side, token: String(made[side]) })
  return { id, a: sessionId(id, 'a'), b: sessionId(id, 'b'), as }
}

/** A ground whose clock goes on by seconds when a test says so. */
async function makeGround(): Promise<{ ground: Ground; pass(ms: number): void }> {
  let ahead = 0
  const clock = {
    ...systemClock,
    wall: () => systemClock.wall() + ahead,
    now: () => systemClock.now() + ahead,
  }
  return {
    ground: await Ground.make({ clock }),
    pass: (ms) => {
      ahead += ms
    },
  }
}

/** What is known of each session: who beats for it, how often it was heard, and how often it showed work. */
async function signs(store: Store): Promise<Record<SessionId, [string, number, number]>> {
  const { pulses } = await store.pulses(0)
  return Object.fromEntries(pulses.map(({ session, incarnation, seq, work }) => [session, [incarnation, seq, work]]))
}

/** Tends until something is so; the bridge does it in a loop. */
async function tendUntil(store: Store, isSo: () => Promise<boolean>): Promise<void> {
  await until('it came about', async () => {
    await store.tend()
    return await isSo()
  })
}

test('conversations of the Python bridge are seen, with sessions for agents, and may be renewed and ended', {
  skip: noPython,
}, async () => {
  await using ground = await Ground.make()
  const python = await ground.startPython()
  const store = await ground.open()
  const ours = await openChannel(store)
  assert.deepEqual(
    (await store.conversations()).map(({ id }) => id),
    [ours.opened.id],
  )
  const theirs = await createConversation(python)
  const seen = (await store.conversations()).find(({ id }) => id === theirs.id)
  assert.deepEqual(seen?.roles, { a: 'orchestrator', b: 'docs' })
  assert.deepEqual(seen?.agents, { a: theirs.a, b: theirs.b })
  assert.ok(Math.abs((seen?.createdAt ?? 0) - Date.now()) < 60_000, 'its time is read as UTC')
  assert.ok(Math.abs((seen?.expiresAt ?? 0) - Date.now() - 3 * 3_600_000) < 60_000)
  assert.deepEqual(await store.tokens(theirs.a), [theirs.as('a').token])
  const renewed = await store.renewConversation(theirs.id, 9 * 3_600_000)
  assert.deepEqual((await store.conversations()).at(-1), renewed)
  await python.call('check_messages', theirs.as('b'))
  await store.endConversation(theirs.id)
  assert.deepEqual(
    (await store.conversations()).map(({ id }) => id),
    [ours.opened.id],
  )
  python.say({ tool: 'check_messages', arguments: theirs.as('b') })
  assert.match(String((await python.hear()).error), /ended/)
})

test('what Python sends is read here, and what we send there', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const python = await ground.startPython()
  const { opened, a, b } = await openChannel(store)
  const asA = { conversation_id: opened.id, session_id: 'a', token: opened.tokens.a }
  const asB = { conversation_id: opened.id, session_id: 'b', token: opened.tokens.b }
  await python.call('send_to_partner', {
    ...asA,
    message: 'grüße 🦊',
    action_type: 'question',
    files_involved: ['a.ts', 'b.ts'],
  })
  const [got] = await store.unacked(b, 0, 10)
  assert.equal(got?.text, 'grüße 🦊')
  assert.equal(got?.action, 'question')
  assert.deepEqual(got?.files, ['a.ts', 'b.ts'])
  assert.equal(got?.from, a)
  assert.equal(got?.delivery, 'queued')
  assert.ok(Math.abs((got?.sentAt ?? 0) - Date.now()) < 60_000)

  await store.send(b, 'k1', { text: 'ja', action: 'info', files: ['c.ts'] })
  await store.send(b, 'k2', { text: 'and no metadata' })
  assert.deepEqual((await python.call('check_messages', asA)).messages, [
    { id: 2, from: 'b', message: 'ja', action_type: 'info', files: 'c.ts' },
    { id: 3, from: 'b', message: 'and no metadata', action_type: null, files: '' },
  ])
  assert.deepEqual(await store.unacked(a, 0, 10), [], 'fetched there is acked here')

  await store.mark(b, [1], 'leased')
  assert.deepEqual(
    (await store.unacked(b, 0, 10)).map(({ delivery }) => delivery),
    ['leased'],
  )
  await store.mark(b, [1], 'acked')
  assert.deepEqual((await python.call('check_messages', asB)).messages, [], 'acked here is read there')
})

test('our beats are shown to Python, and not taken for its own', { skip: noPython }, async () => {
  let wallMs = 0
  let monotonicMs = 0
  const clock = {
    ...systemClock,
    wall: () => systemClock.wall() + wallMs,
    now: () => systemClock.now() + monotonicMs,
  }
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const python = await ground.startPython()
  const { opened, b } = await openChannel(store)
  const asA = { conversation_id: opened.id, session_id: 'a', token: opened.tokens.a }
  assert.deepEqual(await python.call('check_partner_status', asA), { status: 'unknown', alive: false })
  await store.beat([{ session: b, host: 'build-box', incarnation: 'one', seq: 1, work: 0 }])
  await store.tend()
  const first = await python.call('check_partner_status', asA)
  assert.equal(first.alive, true)
  assert.equal(first.status, 'working')
  const rowOf = (): unknown =>
    ground.look((database) => database.prepare('SELECT last_heartbeat FROM session_status').pluck().get())
  const shown = rowOf()

  await store.beat([{ session: b, host: 'build-box', incarnation: 'one', seq: 2, work: 0 }])
  monotonicMs += 20_000
  wallMs += 20_000
  await store.tend()
  assert.equal(rowOf(), shown, 'at most every 30 s')
  monotonicMs += 20_000
  wallMs += 20_000
  await store.tend()
  assert.notEqual(rowOf(), shown)
  monotonicMs += 40_000
  await store.tend()
  monotonicMs += 2_000
  await store.tend()
  const { pulses } = await store.pulses(0)
  assert.deepEqual(
    pulses.map(({ incarnation, seq }) => [incarnation, seq]),
    [['one', 2]],
    'no echo is a beat',
  )

  await store[Symbol.asyncDispose]()
  const again = await ground.open()
  await again.tend()
  assert.deepEqual(
    (await again.pulses(0)).pulses.map(({ incarnation }) => incarnation),
    ['one'],
    'nor after a restart',
  )

  await again[Symbol.asyncDispose]()
  await rm(join(ground.folder, 'liveness.db'))
  const bare = await ground.open()
  await bare.tend()
  assert.deepEqual(await signs(bare), {}, 'nor where the file of beats was lost')
})

test('Python’s heartbeats are beats of its session', { skip: noPython }, async () => {
  let monotonicMs = 0
  await using ground = await Ground.make({ clock: { ...systemClock, now: () => systemClock.now() + monotonicMs } })
  const store = await ground.open()
  const python = await ground.startPython()
  const { id, b, as } = await createConversation(python)
  await store.tend() // what the first round finds with whole milliseconds counts as S2's own
  const beat = async (): Promise<unknown> => {
    await python.call('update_my_status', { ...as('b'), status: 'working' })
    const before = (await store.pulses(0)).cursor
    await tendUntil(store, async () => {
      monotonicMs += 1000
      return (await store.pulses(before)).pulses.length > 0
    })
    const { pulses } = await store.pulses(0)
    return pulses.map(({ session, incarnation, seq }) => [session, incarnation, seq])
  }
  assert.deepEqual(await beat(), [[b, 'python', 1]])
  const { cursor } = await store.pulses(0)
  monotonicMs += 1000
  await store.tend()
  assert.deepEqual((await store.pulses(cursor)).pulses, [], 'an old text is no beat')
  assert.deepEqual(await beat(), [[b, 'python', 2]])
  ground.look((database) =>
    database.exec(
      `INSERT INTO session_status VALUES ('${id}', 'q', 'working', 'whenever'), ('../x', 'a', 'working', '')`,
    ),
  )
  assert.deepEqual(await beat(), [[b, 'python', 3]])
  const told = ground.log.records.filter(({ fields }) => fields.kind === 'heartbeat')
  assert.equal(told.length, 2)
  await beat()
  assert.equal(ground.log.records.filter(({ fields }) => fields.kind === 'heartbeat').length, 2, 'told once')
})

test('what an agent of S2 says that it does is shown by the Python bridge, and is no heartbeat of a foreign agent', {
  skip: noPython,
}, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const { opened, a, b } = await openChannel(store)
  const asA = { conversation_id: opened.id, session_id: 'a', token: opened.tokens.a }
  const round = async (): Promise<Record<SessionId, [string, number, number]>> => {
    await python.call('update_my_status', { ...asA, status: 'working' }) // by which all rows are read
    made.pass(1_000)
    await store.tend()
    return await signs(store)
  }
  await store.noteStatus(b, 'waiting')
  assert.deepEqual(await round(), { [a]: ['python', 1, 1] })
  await Promise.all([store.noteStatus(b, 'blocked'), round(), store.noteStatus(b, 'blocked')])
  const { status, alive } = await python.call('check_partner_status', asA)
  assert.deepEqual([status, alive], ['blocked', true])
  await store[Symbol.asyncDispose]()
  const again = await ground.open()
  await python.call('update_my_status', { ...asA, status: 'complete' })
  await again.tend()
  assert.deepEqual(Object.keys(await signs(again)), [a], 'after another start neither')
  assert.equal((await again.lastStatus(a))?.status, 'complete', 'its words are understood too')
})

test('a heartbeat shows that a foreign agent lives; a status, a message and a read mark show that it works', {
  skip: noPython,
}, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const { a, b, as } = await createConversation(python)
  await store.tend()
  const after = async (tool: string, args: object): Promise<Record<SessionId, [string, number, number]>> => {
    await python.call(tool, { ...args })
    made.pass(1_000)
    await store.tend()
    return await signs(store)
  }
  const status = (word: string): object => ({ ...as('b'), status: word })
  assert.deepEqual(await after('update_my_status', status('working')), { [b]: ['python', 1, 1] })
  assert.deepEqual(await after('update_my_status', status('working')), { [b]: ['python', 2, 1] }, 'a heartbeat')
  assert.deepEqual(await after('update_my_status', status('complete')), { [b]: ['python', 3, 2] })
  assert.deepEqual(await after('send_to_partner', { ...as('b'), message: 'half done' }), { [b]: ['python', 4, 3] })
  assert.deepEqual(await after('check_messages', as('a')), { [a]: ['python', 1, 1], [b]: ['python', 4, 3] })
  assert.deepEqual(await after('check_messages', as('a')), { [a]: ['python', 1, 1], [b]: ['python', 4, 3] }, 'no mail')

  await python.call('send_to_partner', { ...as('a'), message: 'read at once' })
  assert.deepEqual(await after('check_messages', as('b')), { [a]: ['python', 2, 2], [b]: ['python', 5, 4] })

  await store[Symbol.asyncDispose]()
  const again = await ground.open()
  await again.tend()
  assert.deepEqual(await signs(again), { [a]: ['python', 2, 2], [b]: ['python', 5, 4] }, 'nothing counts twice')
  await python.call('send_to_partner', { ...as('b'), message: 'still here' })
  made.pass(1_000)
  await again.tend()
  assert.deepEqual(await signs(again), { [a]: ['python', 2, 2], [b]: ['python', 6, 5] })
})

test('what S2 sends and marks for agents, and says itself, is no sign of a foreign one', {
  skip: noPython,
}, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const [store, other] = [await ground.open(), await ground.open()]
  const python = await ground.startPython()
  const { opened, a, b } = await openChannel(store)
  const elsewhere = await openChannel(store, 's2-worker-2')
  await store.tend()
  const asA = { conversation_id: opened.id, session_id: 'a', token: opened.tokens.a }
  for (const [round, each] of [store, other, store].entries()) {
    const { id } = await each.send(a, `k${round}`, { text: 'hello' })
    await each.send(b, `k${round}`, { text: 'and hello' })
    await each.mark(b, [id], 'leased')
    if (round !== 1) await each.mark(b, [id], 'acked')
    const task = {
      id: `t${round}`,
      description: 'x',
      priority: 'P2',
      role: null,
      deadline: null,
      createdBy: a,
    } as const
    await each.addTask({ ...task, holder: b })
    await each.move({ task: `t${round}`, epoch: 1, to: elsewhere.b, reason: 'by_hand' })
    made.pass(1_000)
    await store.tend()
  }
  const unread = await store.unacked(b, 0, 100)
  await other.mark(
    b,
    unread.map(({ id }) => id),
    'acked',
  )
  made.pass(1_000)
  await store.tend()
  assert.deepEqual(await signs(store), {})
  await python.call('check_messages', asA)
  made.pass(1_000)
  await store.tend()
  assert.deepEqual(await signs(store), { [a]: ['python', 1, 1] }, 'a foreign reader is told apart from them')
})

test('a backlog of foreign messages is gone through, and S2’s among them are told apart', {
  skip: noPython,
}, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const theirs = await createConversation(python)
  const ours = await openChannel(store)
  await store.tend()
  ground.look((database) => {
    const insert = database.prepare(
      `INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp, read)
        VALUES (?, 'b', 'a', 'x', '', 1)`,
    )
    database.transaction(() => {
      for (let index = 0; index < 2_500; index += 1) insert.run(theirs.id)
    })()
  })
  for (let index = 0; index < 5; index += 1) {
    const { id } = await store.send(ours.a, `k${index}`, { text: 'x' })
    await store.mark(ours.b, [id], 'acked')
  }
  made.pass(1_000)
  await tendUntil(store, async () => (await signs(store))[theirs.b]?.[2] === 3)
  for (let round = 0; round < 3; round += 1) await store.tend()
  assert.deepEqual(await signs(store), { [theirs.a]: ['python', 3, 3], [theirs.b]: ['python', 3, 3] })
})

test('a host that beats for a session keeps it; what the agent does by Python is its work', {
  skip: noPython,
}, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const { opened, b } = await openChannel(store)
  const asB = { conversation_id: opened.id, session_id: 'b', token: opened.tokens.b }
  let seq = 0
  const beat = async (): Promise<unknown> => {
    seq += 1
    await store.beat([{ session: b, host: 'build-box', incarnation: 'one', seq, work: 7 }])
    return (await signs(store))[b]
  }
  await store.tend()
  assert.deepEqual(await beat(), ['one', 1, 7])
  await python.call('update_my_status', { ...asB, status: 'blocked' })
  made.pass(1_000)
  await store.tend()
  const [, , work] = (await beat()) as [string, number, number]
  assert.ok(work > 7, 'a new status is work')
  await python.call('update_my_status', { ...asB, status: 'blocked' })
  made.pass(1_000)
  await store.tend()
  assert.deepEqual(await beat(), ['one', 3, work], 'a heartbeat beside them is nothing new')
  await python.call('send_to_partner', { ...asB, message: 'x' })
  made.pass(1_000)
  await store.tend()
  assert.deepEqual(await beat(), ['one', 4, work + 1])
  made.pass(15_000)
  await python.call('update_my_status', { ...asB, status: 'blocked' })
  await store.tend()
  assert.equal((await signs(store))[b]?.[0], 'python', 'where the host is silent, the agent speaks for itself')
})

test('a foreign agent that works and never writes a heartbeat keeps its task', { skip: noPython }, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const { b, id, as } = await createConversation(python)
  const idle = await createConversation(python)
  const roster = new Roster({ lateAfterMs: 1_000, silentAfterMs: 2_000 })
  const leases = new LeaseObserver(60_000)
  const now = (): number => ground.parts.clock.now()
  for (const [each, task] of [
    [as('a'), 'T-1'],
    [idle.as('a'), 'T-2'],
  ] as const) {
    const message = JSON.stringify({ type: 'task_assignment', task_id: task, description: 'x' })
    await python.call('send_to_partner', { ...each, message })
  }
  await store.tend()
  const agents = (await store.conversations()).map((each) => ({
    name: each.agents.b,
    role: each.roles.b,
    sessions: [sessionId(each.id, 'b')],
  }))
  for (const _ of roster.learn(agents, now));
  assert.deepEqual(agents.map(({ name }) => name).sort(), [sessionId(id, 'b'), idle.b].sort())
  let cursor = 0
  const lost = new Set<string>()
  for (let second = 0; second < 20; second += 1) {
    const act = second % 3
    if (act === 0) await python.call('send_to_partner', { ...as('a'), message: `look at ${second}` })
    if (act === 1) await python.call('check_messages', as('b'))
    if (act === 2) await python.call('send_to_partner', { ...as('b'), message: `at ${second}` })
    made.pass(1_000)
    await store.tend()
    const observed = await store.pulses(cursor)
    cursor = observed.cursor
    roster.hear(observed.pulses, now())
    roster.due(now())
    const tasks = await store.tasks({ open: true })
    for (const { task } of findNeeds(tasks, roster, leases, () => true, now())) lost.add(task.id)
  }
  assert.deepEqual([...lost], ['T-2'], 'the one that does nothing loses its own')
  assert.equal(roster.standing(b)?.verdict, 'alive')
  assert.ok((roster.standing(b)?.signs ?? 0) >= 10)
})

test('the word of a foreign agent for its status stays, whatever we mirror', { skip: noPython }, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const { opened, b } = await openChannel(store)
  const as = (side: 'a' | 'b'): object => ({
    conversation_id: opened.id,
    session_id: side,
    token: opened.tokens[side],
  })
  const rowOf = (): unknown =>
    ground.look((database) => database.prepare('SELECT status, last_heartbeat FROM session_status').get())
  await store.tend()
  await python.call('update_my_status', { ...as('b'), status: 'blocked' })
  const written = rowOf()
  let seq = 0
  const live = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 5) {
      seq += 1
      await store.beat([{ session: b, host: 'build-box', incarnation: 'one', seq, work: 0 }])
      made.pass(5_000)
      await store.tend()
    }
  }
  await live(100)
  assert.deepEqual(rowOf(), written, 'its own heartbeat is young enough')
  await live(100)
  assert.notDeepEqual(rowOf(), written)
  assert.equal((await python.call('check_partner_status', { ...as('a') })).status, 'blocked')
})

test('a status of blocked or waiting is shown with the tasks of its agent', { skip: noPython }, async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const python = await ground.startPython()
  const { as } = await createConversation(python)
  const message = JSON.stringify({ type: 'task_assignment', task_id: 'T-1', description: 'x' })
  await python.call('send_to_partner', { ...as('a'), message })
  await store.tend()
  const progress = async (status: string): Promise<string | null> => {
    await python.call('update_my_status', { ...as('b'), status })
    made.pass(1_000)
    await store.tend()
    return (await store.task('T-1')).progress
  }
  assert.equal(await progress('working'), null)
  assert.equal(await progress('waiting'), 'blocked: its status says waiting')
  assert.equal(await progress('waiting'), 'blocked: its status says waiting')
  assert.equal(await progress('working'), null)
  const update = { type: 'status_update', task_id: 'T-1', status: 'blocked', summary: 'no disk' }
  await python.call('send_to_partner', { ...as('b'), message: JSON.stringify(update) })
  assert.equal(await progress('blocked'), 'blocked: no disk', 'the better reason stays')
  assert.equal(await progress('blocked'), 'blocked: no disk')
  assert.equal(await progress('complete'), null)
})

test('tasks that foreign agents speak of are taken in, moved, and fenced', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const python = await ground.startPython()
  const theirs = await createConversation(python)
  const other = await openChannel(store, 's2-worker-2')
  const say = (side: 'a' | 'b', message: object): Promise<unknown> =>
    python.call('send_to_partner', { ...theirs.as(side), message: JSON.stringify(message) })
  await say('a', { type: 'task_assignment', task_id: 'T-1', description: 'write the docs', priority: 'high' })
  await say('a', { type: 'task_assignment', task_id: 'T-2', description: 'and the tests' })
  await say('b', { type: 'status_update', task_id: 'T-2', status: 'completed', summary: 'all green' })
  await tendUntil(store, async () => (await store.tasks({})).length === 2)
  const [first, second] = await store.tasks({})
  assert.equal(first?.description, 'write the docs')
  assert.equal(first?.holder, theirs.b)
  assert.equal(first?.createdBy, theirs.a)
  assert.equal(first?.priority, 'P1')
  assert.equal(second?.state, 'completed')
  assert.equal(second?.result?.tail, 'all green')

  await say('b', { type: 'acknowledgment', task_id: 'T-1' })
  await tendUntil(store, async () => (await store.task('T-1')).state === 'accepted')
  assert.ok(await store.move({ task: 'T-1', epoch: 1, to: other.b, reason: 'silent' }))
  const letters = (await python.call('check_messages', theirs.as('b'))).messages as { message: string }[]
  assert.deepEqual(
    letters.map(({ message }) => readTaskMessage(message)?.type),
    ['task_assignment', 'task_assignment', 'task_revoked'],
    'the former holder is told in its own protocol',
  )
  await say('b', { type: 'status_update', task_id: 'T-1', status: 'completed', summary: 'late' })
  await tendUntil(store, async () => (await store.evidence('T-1')).length === 1)
  const moved = await store.task('T-1')
  assert.equal(moved.state, 'assigned')
  assert.equal(moved.holder, other.b)
  assert.equal(moved.epoch, 2)
  await store.tend()
  assert.equal((await store.tasks({})).length, 2, 'letters of our own are not taken for foreign ones')
})

test('letters are taken in once, whoever tends and however often', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const [one, two] = [await ground.open(), await ground.open()]
  const python = await ground.startPython()
  const theirs = await createConversation(python)
  for (let index = 0; index < 50; index += 1) {
    const message = JSON.stringify({ type: 'task_assignment', task_id: `T-${index}`, description: 'x' })
    await python.call('send_to_partner', { ...theirs.as('a'), message })
  }
  await Promise.all([one.tend(), two.tend(), one.tend(), two.tend()])
  assert.equal((await two.tasks({})).length, 50)
  const added = (await one.audit(0, 1000)).filter(({ action }) => action === 'task_added')
  assert.equal(added.length, 50)
  await one[Symbol.asyncDispose]()
  const three = await ground.open()
  await three.tend()
  assert.equal((await three.audit(0, 1000)).length, (await two.audit(0, 1000)).length)
})

test('history of conversations that have ended makes no tasks', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const python = await ground.startPython()
  const old = await createConversation(python)
  const live = await createConversation(python)
  for (const { as, id } of [old, live]) {
    const message = JSON.stringify({ type: 'task_assignment', task_id: `T-${id}`, description: 'x' })
    await python.call('send_to_partner', { ...as('a'), message })
  }
  ground.look((database) =>
    database.prepare("UPDATE conversations SET expires_at = '2020-01-01T00:00:00.000001' WHERE id = ?").run(old.id),
  )
  const store = await ground.open()
  await store.tend()
  assert.deepEqual(
    (await store.tasks({})).map(({ id }) => id),
    [`T-${live.id}`],
  )
})

test('malformed rows are passed over, told once, and stop nothing', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { opened, a, b } = await openChannel(store)
  ground.look((database) => {
    const row = (from: string, to: string, text: unknown, metadata: unknown, timestamp: string): unknown =>
      database
        .prepare(
          'INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp) VALUES (?, ?, ?, ?, ?, ?)',
        )
        .run(opened.id, from, to, text, metadata, timestamp)
    row('a', 'b', 'no metadata', null, '2026-01-02T03:04:05')
    row('z', 'b', 'from nowhere', '{}', '')
    row('a', 'b', Buffer.from([0xff, 0xfe]), '{}', '')
    row('a', 'b', 'bad metadata', '{"action_type": 7, "files_involved": [1, "x", null]', 'yesterday')
    row('a', 'b', 'odd metadata', '{"action_type": 7, "files_involved": [1, "x", null]}', '')
    row('a', 'b', '{"type":"task_assignment","task_id":"../../etc","description":"x"}', '[]', '')
    row('a', 'b', '{"__proto__":{"type":"task_assignment","task_id":"x"}}', 'null', '')
    database.exec(
      "INSERT INTO conversations VALUES ('no such id!', 'a', 'b', '', '', '2026-01-01T00:00:00', '2999-01-01T00:00:00')",
    )
    database.exec("INSERT INTO conversations VALUES ('conv_timeless', 'a', 'b', '', '', 'then', '~later')")
    database.exec(
      "INSERT INTO conversations VALUES (NULL, 'a', 'b', '', '', '2026-01-01T00:00:00', '2999-01-01T00:00:00')",
    )
  })
  for (let round = 0; round < 3; round += 1) {
    const messages = await store.unacked(b, 0, 100)
    assert.deepEqual(
      messages.slice(0, 3).map(({ text, action, files }) => [text, action, files]),
      [
        ['no metadata', null, []],
        ['bad metadata', null, []],
        ['odd metadata', null, ['x']],
      ],
    )
    assert.equal(messages[0]?.sentAt, Date.UTC(2026, 0, 2, 3, 4, 5))
    assert.equal(messages.length, 5)
    assert.deepEqual(
      (await store.conversations()).map(({ id }) => id),
      [opened.id],
    )
    await store.tend()
  }
  assert.deepEqual(await store.tasks({}), [])
  const told = ground.log.records.filter(({ event }) => event.startsWith('malformed row'))
  assert.equal(told.length, 5, JSON.stringify(told))
  await store.send(a, 'k', { text: 'all is well' })
  assert.equal((await store.unacked(b, 0, 100)).length, 6)
})

test('a command tells malformed rows in one line, and cuts roles that nobody could read', async () => {
  await using ground = await Ground.make({ malformedRows: 'sum' })
  const store = await ground.open()
  const insert = "INSERT INTO conversations VALUES (?, ?, 'b', '', '', '2026-01-01T00:00:00', '2999-01-01T00:00:00')"
  ground.look((database) => {
    const row = database.prepare(insert)
    for (let nth = 0; nth < 300; nth += 1) row.run(`no such id ${nth}`, 'a')
    row.run('conv_0000000000000001', `long ${'x'.repeat(1_000_000)}`)
  })
  const [shown] = await store.conversations()
  assert.equal(shown?.roles.a.length, 200)
  await store[Symbol.asyncDispose]()
  const told = ground.log.records.filter(({ event }) => event.includes('malformed'))
  assert.deepEqual(
    told.map(({ event, fields }) => [event, fields]),
    [
      [
        '300 malformed rows of foreign writers passed over',
        { such_as: 'conversation 1', next: 'the log of the bridge names each' },
      ],
    ],
  )
})

test('a table of heartbeats that takes one row a conversation ends no round, and is told once a row', async () => {
  await using ground = await Ground.make()
  ground.look((database) =>
    database.exec(`CREATE TABLE session_status (conversation_id TEXT PRIMARY KEY, session_id TEXT NOT NULL,
      last_heartbeat TEXT NOT NULL, status TEXT DEFAULT 'active')`),
  )
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  for (const seq of [1, 2]) {
    await store.beat([a, b].map((session) => ({ session, host: 'box', incarnation: session, seq, work: 0 })))
    await store.tend()
  }
  const shown = ground.look((database) => database.prepare('SELECT session_id FROM session_status').pluck().all())
  assert.deepEqual(shown, ['a'], 'the first end has the row')
  const told = ground.log.records.filter(({ event }) => event.startsWith('malformed row'))
  assert.deepEqual(
    told.map(({ fields }) => fields?.row),
    [b],
  )
  await store.send(a, 'k', { text: 'all is well' })
})

test('rows that no bridge would write stop no round, whatever their ids and values', async () => {
  const letter = JSON.stringify({ type: 'task_assignment', task_id: 'T-0', description: 'x' })
  const message = (id: string, read = '0'): string =>
    `INSERT INTO messages VALUES (${id}, '$c', 'a', 'b', '${letter}', NULL, '2026-01-02T03:04:05', ${read})`
  const odd: Readonly<Record<string, readonly string[]>> = {
    'message -5': [message('-5')],
    'message 0': [message('0')],
    'message 9007199254740993': [message('9007199254740993')],
    'message 9223372036854775807': [message('9223372036854775807')],
    'message 7': [`INSERT INTO messages VALUES (7, x'ff', x'ff', 7, x'ff', x'ff', x'ff', 0)`],
    '': [
      message('8', 'NULL'),
      message('9', `'yes'`),
      `INSERT INTO session_status VALUES ('$c', 'b', x'ff', 17)`,
      `INSERT INTO session_status VALUES ('$c', 'a', '', '2026-01-02T03:04:05.5')`,
      `INSERT INTO audit_log VALUES (-5, NULL, NULL, 'x', NULL, '')`,
      `INSERT INTO audit_log VALUES (9007199254740993, NULL, NULL, 'x', NULL, '')`,
      `INSERT INTO audit_log VALUES (9223372036854775807, NULL, NULL, 'x', NULL, '')`,
      `INSERT INTO conversations VALUES (NULL, x'ff', 7, 8, 9, x'ff', x'ff')`,
    ],
  }
  for (const [told, rows] of Object.entries(odd)) {
    const made = await makeGround()
    await using ground = made.ground
    const store = await ground.open()
    const { opened, a } = await openChannel(store)
    await store.tend()
    ground.look((database) => {
      for (const row of rows) database.exec(row.replaceAll('$c', opened.id))
    })
    for (let round = 0; round < 3; round += 1) {
      made.pass(11_000)
      await store.tend()
    }
    const named = ground.log.records.filter(({ event }) => event.startsWith('malformed row'))
    assert.deepEqual(
      named.map(({ fields }) => `${fields.kind} ${fields.row}`),
      told === '' ? [] : [told],
    )
    if (/\d{16}/.test(told)) await refused('unavailable', store.send(a, 'k', { text: 'it would have no id' }))
    else assert.ok((await store.send(a, 'k', { text: 'x' })).id > 0)
  }
})

test('messages with ids that S2 cannot give are told of once, and when they are gone', async () => {
  const made = await makeGround()
  await using ground = made.ground
  let store = await ground.open()
  const { opened, b } = await openChannel(store)
  const tend = async (): Promise<void> => {
    made.pass(1_000)
    await store.tend()
  }
  const incidents = async () =>
    (await store.incidents({ open: false })).map(({ cause, summary, closedAt }) => ({ cause, summary, closedAt }))
  const change = (sql: string): void => ground.look((database) => void database.exec(sql))
  await tend()
  assert.deepEqual(await incidents(), [])
  for (const id of [-9, -5, -2])
    change(`INSERT INTO messages VALUES (${id}, '${opened.id}', 'a', 'b', 'x', '{}', '2026-01-02T03:04:05', 0)`)
  await tend()
  await tend()
  const summary =
    "3 messages of foreign writers have ids below 1 (-9 to -2): readers of the Python bridge get them, S2's agents do not; write them again without an id, so that the table gives one"
  assert.deepEqual(await incidents(), [{ cause: 'foreign_rows:messages', summary, closedAt: null }])
  assert.deepEqual(await store.unacked(b, 0, 10), [])
  const told = ground.log.records.filter(({ event }) => event.startsWith('malformed row'))
  assert.deepEqual(
    told.map(({ fields }) => fields),
    [{ kind: 'message', row: '-9', count: 3 }],
  )
  await store[Symbol.asyncDispose]()
  store = await ground.open()
  await tend()
  assert.equal((await incidents()).length, 1, 'nor again after a restart')
  await store[Symbol.asyncDispose]()
  change('UPDATE messages SET read = 1')
  store = await ground.open()
  await tend()
  assert.notEqual((await incidents())[0]?.closedAt, null, 'they were read while nobody looked')
  change(
    `INSERT INTO messages VALUES (9007199254740993, '${opened.id}', 'a', 'b', 'x', '{}', '2026-01-02T03:04:05', 0)`,
  )
  await tend()
  assert.match(
    (await incidents())[1]?.summary ?? '',
    /^1 message .* an id above 9007199254740991 \(9007199254740993\):/,
  )
})

test('a row with an odd id does not wake the watchers in every round', async () => {
  const made = await makeGround()
  await using ground = made.ground
  const store = await ground.open()
  const { opened } = await openChannel(store)
  ground.look((database) =>
    database.exec(`INSERT INTO messages VALUES (-5, '${opened.id}', 'a', 'b', 'x', '{}', '2026-01-02T03:04:05', 0)`),
  )
  await store.tend()
  const rung = (): bigint => statSync(`${ground.path}-bell`, { bigint: true }).mtimeNs
  const before = rung()
  for (let round = 0; round < 3; round += 1) {
    made.pass(1_000)
    await sleep(5) // a file's time is only so exact
    await store.tend()
  }
  assert.equal(rung(), before)
})

test('Python and we write at the same time, and neither loses anything', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const python = await ground.startPython()
  const { opened, a, b } = await openChannel(store)
  const asA = { conversation_id: opened.id, session_id: 'a', token: opened.tokens.a }
  const sends = (async () => {
    for (let index = 0; index < 300; index += 1) await store.send(b, `k${index}`, { text: `ours ${index}` })
  })()
  for (let index = 0; index < 150; index += 1) {
    await python.call('send_to_partner', { ...asA, message: `theirs ${index}` })
  }
  await sends
  assert.deepEqual(
    (await store.unacked(b, 0, 1000)).map(({ text }) => text),
    Array.from({ length: 150 }, (_, at) => `theirs ${at}`),
  )
  assert.equal((await store.unacked(a, 0, 1000)).length, 300)
})

test('times and metadata are written as Python writes them', () => {
  assert.equal(pythonTime(Date.UTC(2026, 10, 21, 8, 5, 9, 7)), '2026-11-21T08:05:09.007000')
  assert.equal(pythonTimeOfMicros(Date.UTC(2026, 10, 21, 8, 5, 9, 7) * 1000 + 42), '2026-11-21T08:05:09.007042')
  assert.equal(microsOfPythonTime('2026-11-21T08:05:09.007042'), Date.UTC(2026, 10, 21, 8, 5, 9, 7) * 1000 + 42)
  assert.equal(microsOfPythonTime('2026-11-21T08:05:09'), Date.UTC(2026, 10, 21, 8, 5, 9) * 1000)
  assert.equal(microsOfPythonTime('now'), null)
  assert.equal(fromPythonTime('2026-11-21T08:05:09.007123'), Date.UTC(2026, 10, 21, 8, 5, 9, 7))
  assert.equal(fromPythonTime('2026-11-21T08:05:09'), Date.UTC(2026, 10, 21, 8, 5, 9))
  for (const text of ['', 'now', '2026-13-45T99:99:99', 7, null, undefined]) assert.equal(fromPythonTime(text), null)
  assert.equal(pythonMetadata('info', ['a']), '{"action_type":"info","files_involved":["a"]}')
  for (const text of ['', '{', 'null', '[]', '7', null, undefined]) {
    assert.deepEqual(fromPythonMetadata(text), { action: null, files: [], writer: null, isOwn: false })
  }
})
