/** `s2 mcp` and `s2 task take`, beside a bridge and a keepalive that are real: tasks taken by hand, mail, and a bridge that is away. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import { readHookEvent } from '#agents/hook-event.ts'
import { HookReports } from '#agents/hook-reports.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { publishCredential } from '#spool/credentials.ts'
import { type HeldTask, HeldTasks } from '#spool/held-tasks.ts'
import { Inbox } from '#spool/inbox.ts'
import { RunningTasks } from '#spool/running-tasks.ts'
import { SessionLocks } from '#spool/session-lock.ts'
import { Ground, type Seat } from '../bridge/ground.ts'
import { McpClient } from '../mcp-client.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'
import { type Outcome, run } from './run-command.ts'

const state = mkdtempSync(join(tmpdir(), 's2-mcp-'))
const LEASE_MS = 3_000
let ground: Ground
let seat: Seat
let boss: Seat
let keepalive: Program
let client: McpClient

before(async () => {
  ground = await Ground.open()
  const channel = await ground.channel()
  seat = channel.b
  boss = channel.a
  await publishCredential(state, {
    ...{ session: seat.session, agent: 's2-worker-1', role: 'tests', token: seat.token },
    ...{ bridgeUrl: ground.bridge.url, createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
  })
  keepalive = startKeepalive()
  await keepalive.says('session joined')
  client = new McpClient({ S2_STATE: state })
  await client.begin()
})

after(async () => {
  await client?.[Symbol.asyncDispose]()
  await keepalive?.[Symbol.asyncDispose]()
  await ground?.[Symbol.asyncDispose]()
  rmSync(state, { recursive: true })
})

function startKeepalive(): Program {
  return new Program(mainOf('keepalive'), { S2_STATE: state, S2_LEASE: `${LEASE_MS}ms`, S2_BEAT: '500ms' })
}

async function add(id: string, holder: SessionId | null = seat.session): Promise<void> {
  const rest = { priority: 'P2', role: null, deadline: null, createdBy: boss.session } as const
  await ground.store.addTask({ id, description: `do ${id}\nin two lines`, holder, ...rest })
}

async function isTask(id: string, isSo: (task: Task) => boolean): Promise<Task> {
  let task = await ground.store.task(id)
  await until('it comes', async () => {
    task = await ground.store.task(id)
    return isSo(task)
  })
  return task
}

async function isLetGo(id: string): Promise<void> {
  await until('it is let go', async () => (await new HeldTasks(state).find(seat.session, id)) === null)
}

async function s2(...argv: string[]): Promise<Outcome> {
  return await run(argv, { env: { S2_STATE: state } })
}

test('a task is taken, renewed while the client lives, told of and completed', async () => {
  await add('t-1')
  const { said } = await client.call('take_task')
  assert.equal(said.task.task_id, 't-1')
  assert.equal(said.task.description, 'do t-1\nin two lines')
  assert.match(said.lease, /s2-keepalive renews the lease while the program that asked for it lives/)
  const { leaseSeq } = await ground.store.task('t-1')
  await isTask('t-1', (task) => task.leaseSeq >= leaseSeq + 2)

  const told = await client.call('report_progress', {
    task_id: 't-1',
    percent: 40,
    note: 'half of it',
    checkpoint: 'a is done',
  })
  assert.deepEqual([told.isError, told.said.state], [false, 'carried'])
  const { progress, work, checkpoint } = await ground.store.task('t-1')
  assert.deepEqual([progress, work, checkpoint], ['40% · half of it', 1, 'a is done'])

  const again = (await client.call('take_task')).said.task
  assert.deepEqual([again.task_id, again.checkpoint], ['t-1', 'a is done'], 'it is given again')
  const done = await client.call('complete_task', { task_id: 't-1', result: 'merged as abc' })
  assert.equal(done.said.state, 'carried')
  const { state: end, result } = await ground.store.task('t-1')
  assert.deepEqual([end, result?.tail], ['completed', 'merged as abc'])
  assert.deepEqual(await new HeldTasks(state).list(), [])
  assert.equal((await client.call('take_task')).said.task, null)
})

test('calls show that an agent works, once it has told of its progress, and renewals alone do not', async () => {
  await add('t-signs')
  await client.call('take_task', { task_id: 't-signs' })
  const { leaseSeq } = await ground.store.task('t-signs')
  await client.call('list_tasks')
  await isTask('t-signs', (task) => task.leaseSeq >= leaseSeq + 2)
  assert.equal((await ground.store.task('t-signs')).work, 0, 'each renewal counts before that')
  await client.call('report_progress', { task_id: 't-signs', percent: 1 })
  const told = await ground.store.task('t-signs')
  await isTask('t-signs', (task) => task.leaseSeq >= told.leaseSeq + 2)
  assert.equal((await ground.store.task('t-signs')).work, 1)
  await client.call('list_agents')
  await isTask('t-signs', (task) => task.work === 2)
  await client.call('complete_task', { task_id: 't-signs' })
})

test('a task that was moved away is told at the next call, and its holder can say no more of it', async () => {
  await add('t-2')
  await client.call('take_task', { task_id: 't-2' })
  const { epoch } = await ground.store.task('t-2')
  await ground.store.move({ task: 't-2', epoch, to: null, reason: 'by_hand' })
  await until('it comes', async () => (await new HeldTasks(state).list()).some(({ lost }) => lost !== null))
  const { said } = await client.call('list_tasks')
  assert.match(said.notices[0], /^Stop working on task t-2 \(epoch 1\): task t-2 is at epoch 2; you hold epoch 1/)
  assert.equal((await client.call('list_tasks')).said.notices, undefined, 'it is told once')
  const late = await client.call('complete_task', { task_id: 't-2' })
  assert.equal(late.isError, true)
  assert.match(late.said.error.message, /there is no task "t-2"|task t-2 is not yours/)
})

test('when the client is dead its lease is renewed no more', async () => {
  await add('t-3')
  const taken = await client.call('take_task', { task_id: 't-3' })
  assert.equal(taken.said.task.task_id, 't-3')
  const files = new HeldTasks(state)
  const [held] = await files.list()
  assert.equal(held?.process?.pid, process.pid)
  // What died is another process, so that this one can look: its file says a start that this one did not have.
  await files.put({ ...held, process: { ...held.process, startTicks: '1' } } as NonNullable<typeof held>)
  await until('it comes', async () => (await files.list()).length === 0)
  const again = await client.call('take_task')
  assert.equal(again.said.task.task_id, 't-3', 'the same client session gets it again while its lease lasts')
  assert.equal((await client.call('fail_task', { task_id: 't-3', reason: 'it cannot be' })).said.state, 'carried')
  assert.equal((await ground.store.task('t-3')).state, 'failed')
})

test('what the server of one client took is ended by none of another, though no hooks tell of either', async (t) => {
  await add('t-other')
  await client.call('take_task', { task_id: 't-other' })
  const files = new HeldTasks(state)
  const held = await files.find(seat.session, 't-other')
  const other = spawn('sleep', ['60'])
  t.after(() => other.kill())
  const [pid, startTicks] = [other.pid ?? 0, processStart(other.pid ?? 0)]
  assert.ok(held?.process && startTicks !== null)
  await files.put({ ...held, incarnation: `mcp:${pid}`, process: { ...held.process, pid, startTicks } })
  for (const [tool, more] of [
    ['report_progress', {}],
    ['complete_task', {}],
    ['fail_task', { reason: 'x' }],
  ] as const) {
    const { said } = await client.call(tool, { task_id: 't-other', ...more })
    assert.match(said.error?.message ?? '', /another client works on task t-other/, tool)
  }
  assert.equal((await s2('task', 'done', 't-other')).code, 0, 'a command of its shell may')
})

test('the same by command: take, progress, done, fail', async () => {
  await add('t-4')
  const taken = await s2('task', 'take')
  assert.equal(taken.code, 0, taken.err)
  assert.match(taken.out, /^── task t-4 · P2 · epoch 1 · s2-keepalive renews the lease while this host runs/)
  assert.match(taken.out, /^ {2}do t-4\n {2}in two lines\n/m)
  const other = await client.call('take_task', { task_id: 't-4' })
  assert.match(other.said.error.message, /another client works on task t-4/)
  assert.equal((await client.call('take_task')).said.task, null, 'the other client’s task is not interrupted')
  assert.equal((await s2('task', 'progress', 't-4', '--percent', '50', '--note', '--settings=x')).code, 0)
  assert.equal((await ground.store.task('t-4')).progress, '50% · --settings=x')
  const done = await s2('task', 'done', 't-4', '--result', 'all of it')
  assert.deepEqual([done.code, done.out], [0, 'told: the fleet has the report on t-4\n'])
  assert.equal((await ground.store.task('t-4')).state, 'completed')
  assert.match(
    (await s2('task', 'list', '--all')).out,
    /^t-4 .* all of it$/m,
    'what became of it, and no more how far it was',
  )
  assert.doesNotMatch((await s2('task', 'show', 't-4')).out, /exit code/)

  await add('t-5')
  assert.equal((await s2('task', 'take', 't-5', '--json')).code, 0)
  assert.equal((await s2('task', 'fail', 't-5', '--why', 'no disk')).code, 0)
  assert.equal((await ground.store.task('t-5')).result?.tail, 'no disk')
})

test('a script knows by the exit code that there is nothing to take', async () => {
  const nothing = await s2('task', 'take')
  assert.deepEqual([nothing.code, nothing.out, nothing.err], [69, 'no task waits for this host’s agent\n', ''])
  const json = await s2('task', 'take', '--json')
  assert.equal(json.code, 69)
  assert.deepEqual(JSON.parse(json.out), { task: null, why: 'no task waits for this host’s agent' })
  assert.match((await s2('task', 'take', '--help')).out, /[Ee]xit code 69/)
})

test('the end of a task that has ended is the same one, or is refused with who ended it and when', async () => {
  await add('t-twice')
  assert.equal((await s2('task', 'take', 't-twice')).code, 0)
  const ended = async (...argv: string[]): Promise<Outcome> => await s2('task', ...argv)
  assert.equal((await ended('done', 't-twice', '--result', 'merged as abc')).code, 0)
  const { updatedAt } = await ground.store.task('t-twice')
  for (const again of [['--result', 'merged as abc'], []]) {
    const { code, out } = await ended('done', 't-twice', ...again)
    assert.deepEqual([code, out], [0, 'told: the fleet has the report on t-twice\n'], again.join(' '))
  }
  const at = new Date(updatedAt).toISOString()
  const other = await ended('done', 't-twice', '--result', 'merged as def')
  assert.deepEqual([other.code, other.out], [1, ''])
  assert.ok(
    other.err.startsWith(
      `s2: task t-twice is completed already, by s2-worker-1 at ${at}: this result was not stored\n`,
    ),
    other.err,
  )
  assert.match(other.err, /\n {2}next: .*s2 task show t-twice.*s2 send orchestrator/)
  const failed = await ended('fail', 't-twice', '--why', 'it was wrong')
  assert.equal(failed.code, 1)
  assert.match(
    failed.err,
    /is completed already, by s2-worker-1 at .*Z: that it failed changes nothing, and is kept as a late report/,
  )
  const { state: end, result } = await ground.store.task('t-twice')
  assert.deepEqual([end, result?.tail], ['completed', 'merged as abc'])
  const late = await ground.store.evidence('t-twice')
  assert.deepEqual(
    late.map(({ report }) => [report.state, report.result?.tail]),
    [['failed', 'it was wrong']],
  )
})

test('tools refuse another end of a task that has ended, whichever client of the session says it', async () => {
  await add('t-tools')
  await client.call('take_task', { task_id: 't-tools' })
  const reason = { task_id: 't-tools', reason: 'no disk' }
  assert.equal((await client.call('fail_task', reason)).said.state, 'carried')
  await using second = new McpClient({ S2_STATE: state })
  await second.begin()
  for (const each of [client, second]) {
    assert.equal((await each.call('fail_task', reason)).said.state, 'carried')
    const other = await each.call('fail_task', { ...reason, reason: 'no memory' })
    assert.deepEqual([other.isError, other.said.error.code], [true, 'conflict'])
    assert.match(
      other.said.error.message,
      /^task t-tools is failed already, by s2-worker-1 at .*Z: this result was not stored$/,
    )
    assert.match(other.said.error.next, /send_to_partner/)
    const done = await each.call('complete_task', { task_id: 't-tools', result: 'after all' })
    assert.match(
      done.said.error.message,
      /^task t-tools is failed already, by .*: that it is completed changes nothing/,
    )
  }
  await ground.store.addTask({
    ...{ id: 't-late', description: 'x', priority: 'P2', role: null, holder: seat.session, createdBy: null },
    deadline: Date.now() + 3_600_000,
  })
  await client.call('take_task', { task_id: 't-late' })
  await new HeldTasks(state).remove((await new HeldTasks(state).find(seat.session, 't-late')) as HeldTask)
  await ground.store.endTask({ task: 't-late', epoch: 1, reason: 'deadline', words: 'it took too long' })
  const late = await client.call('complete_task', { task_id: 't-late', result: 'x' })
  assert.match(late.said.error.message, /^task t-late is failed already, by the watchdog at /)
})

test('a session that `s2 work` serves takes nothing by hand', async () => {
  await add('t-6')
  {
    await using locks = new SessionLocks(state)
    assert.equal(await locks.hold(seat.session), true)
    const { isError, said } = await client.call('take_task')
    assert.equal(isError, true)
    assert.match(said.error.message, /`s2 work` runs on this host for conv_\w+\/b/)
  }
  assert.equal((await client.call('take_task', { task_id: 't-6' })).said.task.task_id, 't-6')
  await client.call('complete_task', { task_id: 't-6' })
})

test('what runs inside a task of `s2 work` takes that one, tells of it and ends it by its word', async () => {
  await add('t-inside')
  await using locks = new SessionLocks(state)
  assert.equal(await locks.hold(seat.session), true)
  const { epoch } = (await ground.store.leaseTask(seat.session, 'run:1', [])) as Task
  const tasks = new RunningTasks(state)
  const worker = { pid: process.pid, startTicks: processStart(process.pid) ?? '', namespace: pidNamespace() }
  const running = { session: seat.session, task: 't-inside', epoch, worker }
  await tasks.begin(running)
  assert.equal((await client.call('take_task')).said.task.task_id, 't-inside')
  const other = await client.call('take_task', { task_id: 't-other' })
  assert.match(other.said.error.message, /runs task t-inside here, and no other beside it/)
  const told = await client.call('report_progress', { task_id: 't-inside', percent: 40, checkpoint: 'a is done' })
  assert.equal(told.said.state, 'carried')
  const { progress, checkpoint } = await ground.store.task('t-inside')
  assert.deepEqual([progress, checkpoint, tasks.said(running)?.progress], ['40%', 'a is done', '40%'])
  const held = await client.call('reserve_files', {
    ...{ paths: ['a'], repository: 'example.org/shop', task_id: 't-inside', minutes: 5 },
  })
  assert.equal(held.said.reserved[0].task_id, 't-inside')
  const done = await client.call('complete_task', { task_id: 't-inside', result: 'merged' })
  assert.deepEqual([done.said.state, tasks.said(running)?.end], ['noted', { state: 'completed', words: 'merged' }])
  assert.equal((await ground.store.task('t-inside')).state, 'in_progress', '`s2 work` reports it')
  assert.match((await client.call('take_task')).said.error.next, /^end this turn/)
  await client.call('fail_task', { task_id: 't-inside', reason: 'it was not' })
  assert.equal(tasks.said(running)?.end?.state, 'failed', 'the last word counts')

  // Beside a process that is gone, or that is no ancestor and whose task nobody names, nothing is inside.
  await tasks.begin({ ...running, worker: { ...worker, startTicks: '1' } })
  assert.match((await client.call('take_task')).said.error.message, /`s2 work` runs on this host/)
  const beside = spawn('sleep', ['60'])
  const pid = beside.pid ?? 0
  const stranger = { pid, startTicks: processStart(pid) ?? '', namespace: pidNamespace() }
  await tasks.begin({ ...running, worker: stranger, epoch: epoch + 1 })
  assert.equal(tasks.said(running), null, 'what was said at another epoch is forgotten')
  const refused = await s2('task', 'done', 't-inside')
  assert.match(refused.err, /you have not taken it|there is no task/)
  const named = { S2_TASK_ID: 't-inside', S2_TASK_EPOCH: String(epoch + 1) }
  assert.equal((await run(['task', 'done', 't-inside'], { env: { S2_STATE: state, ...named } })).code, 0)
  beside.kill()
  await tasks.end(running)
  const report = { task: 't-inside', epoch, state: 'completed', progress: null, result: null } as const
  await ground.store.report(seat.session, report)
})

test('mail is read, acked by the next check, and given again to a client that comes after', async () => {
  const inbox = new Inbox(state)
  for (const id of await inbox.list('new')) await inbox.ack([id])
  await ground.as([boss]).send(boss.session, 'k1', { text: 'first', files: ['a.md'] })
  await until('it comes', async () => (await inbox.list('new')).length === 1)
  {
    await using first = new McpClient({ S2_STATE: state })
    await first.begin()
    const read = await first.call('check_messages')
    assert.deepEqual(
      [read.said.messages.length, read.said.messages[0].message, read.said.messages[0].again],
      [1, 'first', undefined],
    )
    assert.deepEqual((await client.call('check_messages')).said.messages, [], 'the first one has it in hand')
  }
  {
    await using second = new McpClient({ S2_STATE: state })
    await second.begin()
    const { said } = await second.call('check_messages')
    assert.deepEqual([said.messages[0].message, said.messages[0].again], ['first', 2])
    const id = said.messages[0].id
    assert.deepEqual((await second.call('ack_messages', { ids: [id, 99_999] })).said, {
      acked: [id],
      not_found: [99_999],
    })
  }
  assert.deepEqual((await client.call('check_messages')).said.messages, [])
})

test('a stop order for an earlier life of a task does not reach who took it since', async () => {
  await add('t-stop')
  const one = await client.call('take_task', { task_id: 't-stop' })
  assert.equal(one.said.task.epoch, 1)
  await ground.store.move({ task: 't-stop', epoch: 1, to: null, reason: 'by_hand' })
  await ground.store.move({ task: 't-stop', epoch: 2, to: seat.session, reason: 'by_hand' })
  await until('it comes', async () => (await new HeldTasks(state).list()).every(({ lost }) => lost !== null))
  const two = await client.call('take_task', { task_id: 't-stop' })
  assert.equal(two.said.task.epoch, 3)
  const inbox = new Inbox(state)
  const isOrder = (text: string | undefined): boolean => text?.includes('"task_revoked"') === true
  await until('it comes', async () => {
    const ids = await inbox.list('new')
    const texts = await Promise.all(ids.map(async (id) => (await inbox.read(id))?.text))
    return texts.some(isOrder)
  })
  const { said } = await client.call('check_messages', { limit: 50 })
  assert.deepEqual(said.messages.map(({ message }: { message: string }) => message).filter(isOrder), [])
  await ground.store.cancelTask('t-stop')
  let shown: string[] = []
  await until('it comes', async () => {
    const again = await client.call('check_messages', { limit: 50 })
    shown = [...shown, ...again.said.messages.map(({ message }: { message: string }) => message).filter(isOrder)]
    return shown.length > 0
  })
  assert.equal(JSON.parse(shown[0] ?? '').epoch, 3, 'an order for itself does')
})

test('the arguments of prompts for the Python bridge work, and forged ones are refused', async () => {
  const [conversation_id] = seat.session.split('/')
  const own = { conversation_id, session_id: 'b', token: seat.token }
  const sent = await client.call('send_to_partner', { ...own, message: 'hello', action_type: 'note' })
  assert.equal(sent.said.to, partnerOf(seat.session))
  await until('it comes', async () =>
    (await ground.store.unacked(boss.session, 0, 50)).some(({ text }) => text === 'hello'),
  )
  const status = await client.call('update_my_status', { ...own, status: 'blocked' })
  assert.deepEqual([status.isError, status.said.status], [false, 'blocked'])
  assert.equal((await ground.store.lastStatus(seat.session))?.status, 'blocked')
  const unheard = (await client.call('check_partner_status', own)).said
  assert.deepEqual([unheard.status, unheard.alive, unheard.age], ['unknown', false, undefined])
  assert.equal(unheard.partner.session, partnerOf(seat.session))
  await ground.store.noteStatus(boss.session, 'waiting')
  const partner = (await client.call('check_partner_status', own)).said
  assert.deepEqual([partner.status, partner.alive], ['waiting', true])
  assert.ok(partner.age >= 0 && partner.age < 60)
  for (const forged of [{ token: 'f'.repeat(64) }, { session_id: 'a' }, { conversation_id: 'conv_ffffffffffffffff' }]) {
    const { isError, said } = await client.call('send_to_partner', { ...own, ...forged, message: 'hello' })
    assert.deepEqual([isError, said.error.code], [true, 'forbidden'], JSON.stringify(forged))
  }
  const bad = await client.call('send_to_partner', { ...own, message: 'x', loud: true })
  assert.match(bad.said.error.message, /there is no argument "loud"; there is conversation_id, /)
  assert.match((await client.call('send_message', { to: 'nobody', message: 'x' })).said.error.next, /list_agents/)
  assert.match((await client.call('send_message', { message: 'x' })).said.error.message, /name one agent in `to`/)
  const { agents } = (await client.call('list_agents')).said
  assert.deepEqual(
    agents.map(({ gives_work }: { gives_work?: boolean }) => gives_work),
    [true, undefined],
  )
})

test('files are reserved for a task, and released', async () => {
  await add('t-files')
  await client.call('take_task', { task_id: 't-files' })
  const wish = { paths: ['src/store/'], repository: 'example.org/shop', task_id: 't-files', minutes: 5 }
  const { said } = await client.call('reserve_files', wish)
  assert.deepEqual([said.reserved[0].mode, said.reserved[0].task_id], ['exclusive', 't-files'])
  const [held] = await ground.store.reservations()
  assert.deepEqual([held?.task, held?.epoch, held?.repository[0]], ['t-files', 1, 'example.org/shop'])
  const other = await client.call('reserve_files', { ...wish, task_id: 'no-such-task' })
  assert.equal(other.isError, true)
  const { released } = (await client.call('release_files', { repository: 'example.org/shop' })).said
  assert.equal(released.length, 1)
  assert.deepEqual(await ground.store.reservations(), [])
  await client.call('complete_task', { task_id: 't-files' })
})

test('while keepalive is away, what is said waits durably, and the answer says so', async () => {
  await add('t-7')
  await client.call('take_task', { task_id: 't-7' })
  await keepalive.end()
  const sent = await client.call('send_to_partner', { message: 'from afar' })
  assert.equal(sent.said.state, 'waiting')
  assert.match(sent.said.note, /no s2-keepalive runs on this host/)
  const done = await client.call('complete_task', { task_id: 't-7', result: 'all of it' })
  assert.equal(done.said.state, 'waiting')
  assert.equal((await s2('task', 'done', 't-7', '--result', 'all of it')).code, 0)
  const other = await s2('task', 'done', 't-7', '--result', 'half of it')
  assert.equal(other.code, 1)
  assert.match(
    other.err,
    /^s2: task t-7 is completed already, by a report that waits in the outbox of this host: this result was not stored\n/,
  )
  assert.equal((await s2('task', 'fail', 't-7', '--why', 'x')).code, 1)
  assert.match((await client.call('check_messages')).said.note, /no s2-keepalive runs on this host/)
  keepalive = startKeepalive()
  const { result } = await isTask('t-7', (task) => task.state === 'completed')
  assert.equal(result?.tail, 'all of it')
  await isLetGo('t-7')
})

test('a task whose end waits in the outbox is given to nobody, and its lease is renewed until the bridge knows', async () => {
  await add('t-ended')
  await client.call('take_task', { task_id: 't-ended' })
  await keepalive.end()
  assert.equal((await client.call('complete_task', { task_id: 't-ended' })).said.state, 'waiting')
  assert.equal((await client.call('take_task')).said.task, null, 'nobody does it twice')
  for (const [tool, more] of [
    ['take_task', {}],
    ['report_progress', { note: 'x' }],
    ['fail_task', { reason: 'x' }],
  ] as const) {
    const { said } = await client.call(tool, { task_id: 't-ended', ...more })
    assert.match(
      said.error?.message ?? '',
      /task t-ended (has ended|is completed) already, by a report that waits in the outbox/,
      tool,
    )
  }
  assert.equal((await s2('task', 'take')).out, 'no task waits for this host’s agent\n')
  keepalive = startKeepalive()
  await isTask('t-ended', (task) => task.state === 'completed')
  await isLetGo('t-ended')
})

test('sessions of one daemon are told apart by what the client names, and end without it', async () => {
  const hooks = new HookReports(state)
  const tell = (session_id: string, hook_event_name: string): void => {
    const event = readHookEvent('codex', null, JSON.stringify({ session_id, hook_event_name, cwd: '/' }))
    const startTicks = processStart(process.pid)
    assert.ok(event !== null && startTicks !== null)
    const facts = {
      process: { pid: process.pid, startTicks, namespace: pidNamespace() },
      ...{ sharesProcess: true, pane: null, inboxSocket: null, version: null, session: null },
    }
    hooks.put({ event, facts, at: Date.now(), isBlocked: false }, process.pid)
  }
  const isKnown = async (id: string, is: string): Promise<boolean> =>
    (await readClientSessions(state)).some((each) => each.id === id && each.activity.state === is)
  for (const id of ['one', 'two']) tell(id, 'SessionStart')
  await until('both are known', async () => (await isKnown('one', 'idle')) && (await isKnown('two', 'idle')))

  await using first = new McpClient({ S2_STATE: state })
  await using second = new McpClient({ S2_STATE: state })
  await first.begin()
  await second.begin()
  await add('t-one')
  await add('t-two')
  const one = await first.call('take_task', { task_id: 't-one' }, { sessionId: 'one', threadId: 'one' })
  assert.match(one.said.lease, /while this codex session lives/)
  const others = await second.call('take_task', { task_id: 't-one' }, { sessionId: 'two' })
  assert.match(others.said.error.message, /another client works on task t-one/)
  for (const [tool, more] of [
    ['report_progress', {}],
    ['complete_task', {}],
    ['fail_task', { reason: 'x' }],
  ] as const) {
    const { said } = await second.call(tool, { task_id: 't-one', ...more }, { sessionId: 'two' })
    assert.match(said.error?.message, /another client works on task t-one/, tool)
  }
  assert.equal((await second.call('take_task')).said.task.task_id, 't-two')
  const take = async (env: NodeJS.ProcessEnv): Promise<{ stdout: string }> =>
    await promisify(execFile)(process.execPath, [mainOf('cli'), 'task', 'take', 't-one'], {
      env: { PATH: process.env.PATH, S2_STATE: state, ...env },
    })
  assert.match((await take({ CODEX_SESSION_ID: 'one' })).stdout, /── task t-one /)
  await assert.rejects(take({}), /another client works on task t-one/, 'who is not named is neither')

  const files = new HeldTasks(state)
  tell('one', 'SessionEnd')
  await until('its task is let go, though the daemon lives', async () =>
    (await files.list()).every(({ task }) => task !== 't-one'),
  )
  assert.ok((await files.list()).some(({ task }) => task === 't-two'))
  assert.equal((await second.call('complete_task', { task_id: 't-two' })).said.state, 'carried')
})
