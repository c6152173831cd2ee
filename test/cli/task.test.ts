/** `s2 task`, with a bridge that is real: whom a task may go to, what is to follow when it does not end, and what is shown of it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Report, Task } from '#fleet/task.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { freePort } from '../port.ts'
import { mainOf, Program } from '../program.ts'
import { type Outcome, run } from './run-command.ts'

const state = mkdtempSync(join(tmpdir(), 's2-task-test-'))
let bridge: Program
let store: Store
before(async () => {
  bridge = new Program(mainOf('bridge'), { S2_STATE: state, S2_LISTEN: `127.0.0.1:${await freePort()}` })
  await bridge.says('ready')
  const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
  store = await openStore(`unix:${join(state, 'run/admin.sock')}`, parts)
  for (const [role, agent] of [
    ['backend', 'ann'],
    ['tests', 'bob'],
  ] as const) {
    const { code, err } = await s2('conversation', 'create', '--role-b', role, '--agent-b', agent, '--show-tokens')
    assert.equal(code, 0, err)
  }
  assert.equal((await s2('worker', 'invite', '7', '--role', 'docs')).code, 0)
})
after(async () => {
  await store[Symbol.asyncDispose]()
  await bridge[Symbol.asyncDispose]()
  rmSync(state, { recursive: true, force: true })
})

async function s2(...argv: string[]): Promise<Outcome> {
  return await run(argv, { env: { S2_STATE: state } })
}

/** Adds a task; it must succeed. */
async function add(...argv: string[]): Promise<Task> {
  const { code, out, err } = await s2('task', 'add', ...argv, '--json')
  assert.equal(code, 0, err)
  return JSON.parse(out) as Task
}

async function isThere(id: string): Promise<boolean> {
  return (await store.tasks({ limit: 500 })).some((task) => task.id === id)
}

async function sessionOf(agent: string): Promise<SessionId> {
  const found = (await store.conversations()).find(({ agents }) => agents.b === agent)
  return sessionId(found?.id ?? '', 'b')
}

test('a role that no agent has is refused, with the one that was meant and all that are known', async () => {
  const { code, out, err } = await s2('task', 'add', 'x', '--role', 'bakend', '--id', 'slip')
  assert.deepEqual([code, out], [1, ''])
  assert.match(
    err,
    /^s2: no task was added: no agent has the role "bakend"\n {2}next: did you mean backend\? known roles are backend, docs, tests; --wait adds it all the same\n$/,
  )
  assert.equal(await isThere('slip'), false)
  const far = await s2('task', 'add', 'x', '--role', 'cartography')
  assert.match(far.err, /next: known roles are backend, docs, tests;/, 'nothing near is guessed')
})

test('a slip in any role of a task is refused, though it has an agent to begin with', async () => {
  for (const argv of [
    ['--role', 'tests', '--or', 'bakend'],
    ['--to', 'bob', '--or', 'bakend'],
    ['--to', 'bob', '--role', 'bakend'],
  ]) {
    const { code, err } = await s2('task', 'add', 'x', ...argv)
    assert.equal(code, 1, argv.join(' '))
    assert.match(err, /no agent has the role "bakend"\n {2}next: did you mean backend\?/, argv.join(' '))
  }
  assert.equal((await add('x', '--to', 'bob')).role, 'tests', 'the role of its agent is nobody’s slip')
})

test('a task for an agent of another role is refused, with the role that it has', async () => {
  for (const more of [[], ['--wait'], ['--or', 'docs']]) {
    const { code, err } = await s2('task', 'add', 'x', '--to', 'bob', '--role', 'backend', '--id', 'elsewhere', ...more)
    assert.equal(code, 1, more.join(' '))
    assert.match(
      err,
      /^s2: no task was added: bob has the role "tests", and not "backend"\n {2}next: leave --role out, or say --or tests; --role backend without --to gives it to an agent of that role\n$/,
    )
  }
  assert.equal(await isThere('elsewhere'), false)
  assert.equal((await add('x', '--to', 'bob', '--role', 'backend', '--or', 'tests')).role, 'backend')
  assert.equal((await add('x', '--to', 'bob', '--role', 'any')).role, null)
  assert.equal((await add('x', '--to', await sessionOf('bob'), '--role', 'tests')).role, 'tests')
})

test('what was typed is not repeated at length by an error', async () => {
  const long = 'r'.repeat(5_000)
  for (const argv of [['--role', long], ['--to', long], ['--role', 'tests', '--priority', long], [`--${long}`]]) {
    for (const json of [[], ['--json']]) {
      const { code, err } = await s2('task', 'add', 'x', ...argv, ...json)
      assert.notEqual(code, 0)
      assert.ok(err.includes('rrr') && err.length < 700, `${argv[0]?.slice(0, 20)}: ${err.length}`)
    }
  }
  assert.match((await s2('task', 'add', 'x', '--role', long)).err, /It must be a line of at most 200 characters/)
})

test('--wait adds a task for a role that is yet to come, and an invited worker’s role is known', async () => {
  const waiting = await add('x', '--role', 'deploy', '--wait')
  assert.deepEqual([waiting.role, waiting.state, waiting.holder], ['deploy', 'pending', null])
  assert.equal((await add('x', '--role', 'docs')).state, 'pending')
})

test('--role any is a task that every agent may do, and --or names others that may do it as well', async () => {
  assert.equal((await add('x', '--role', 'any', '--id', 'anybody')).role, null)
  assert.match((await s2('task', 'show', 'anybody')).out, /^role +any$/m)
  const shared = await add('x', '--role', 'tests', '--or', 'backend', '--or', 'docs', '--id', 'shared')
  assert.deepEqual([shared.role, shared.otherRoles], ['tests', ['backend', 'docs']])
  assert.match((await s2('task', 'show', 'shared')).out, /^role +tests or backend or docs$/m)
})

test('a deadline, and what follows it and a stall, are those that were named', async () => {
  const before = Date.now()
  const plain = await add('x', '--role', 'tests')
  assert.deepEqual([plain.deadline, plain.onDeadline, plain.onStall], [null, 'fail', null])
  const task = await add('x', ...'--role tests --deadline 90m --on-deadline move --on-stall end --id due'.split(' '))
  const leftMs = (task.deadline ?? 0) - before
  assert.ok(leftMs >= 5_400_000 && leftMs < 5_400_000 + 60_000, `${leftMs}`)
  assert.deepEqual([task.onDeadline, task.onStall], ['move', 'end'])
  const shown = await s2('task', 'show', 'due')
  assert.match(shown.out, new RegExp(`^deadline +${new Date(task.deadline ?? 0).toISOString()}, then move$`, 'm'))
  for (const argv of [
    ['--deadline', 'soon'],
    ['--deadline', '0s'],
    ['--on-deadline', 'tell'],
    ['--on-stall', 'restart'],
  ]) {
    assert.equal((await s2('task', 'add', 'x', '--role', 'tests', ...argv)).code, 64, argv.join(' '))
  }
})

test('whoever gives a task by hand has the orchestrator told what becomes of it', async () => {
  const ends = new Map((await store.conversations()).map(({ id, roles }) => [roles.b, sessionId(id, 'a')]))
  assert.equal((await add('x', '--to', 'bob')).createdBy, ends.get('tests'))
  assert.equal((await add('x', '--role', 'tests')).createdBy, ends.get('tests'))
  assert.ok([...ends.values()].includes((await add('x', '--role', 'any')).createdBy ?? 'conv_none/a'))
})

test('the same task with the same id is added once, and another one with that id is refused', async () => {
  const first = await add('count the sheep', '--to', 'bob', '--id', 'sheep')
  assert.deepEqual(await add('count the sheep', '--to', 'bob', '--id', 'sheep'), first)
  for (const argv of [
    ['count the goats', '--to', 'bob'],
    ['count the sheep', '--to', 'ann'],
  ]) {
    const { code, out, err } = await s2('task', 'add', ...argv, '--id', 'sheep')
    assert.deepEqual([code, out], [1, ''], argv.join(' '))
    assert.match(err, /there is a task sheep already, and it is another one\n {2}next: choose another id/)
  }
  assert.deepEqual(await store.task('sheep'), first)
})

test('s2 task show says when a task was begun, by whom, and how each time ended', async () => {
  const session = await sessionOf('ann')
  await add('x', '--to', 'ann', '--id', 'thrice', '--priority', 'P0')
  assert.doesNotMatch((await s2('task', 'show', 'thrice')).out, /when it was begun/)
  await store.leaseTask(session, 'first-life')
  const { epoch, attempts } = (await store.leaseTask(session, 'second-life')) ?? (await store.task('thrice'))
  assert.equal(attempts.length, 2)
  const day = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
  const begun = (lines: readonly string[]): RegExp => new RegExp(`── when it was begun\n${lines.join('\n')}\n$`)
  const first = String.raw`  1\. ann, ${day}: the worker ended in the middle of it`
  assert.match((await s2('task', 'show', 'thrice')).out, begun([first, String.raw`  2\. ann, ${day}: goes on`]))
  const result = { exitCode: 3, signal: null, tail: 'all is well\nthe disk is full\n' }
  const report: Report = { task: 'thrice', epoch, state: 'failed', progress: null, result }
  await store.report(session, report)
  const second = String.raw`  2\. ann, ${day}: failed: the disk is full`
  assert.match((await s2('task', 'show', 'thrice')).out, begun([first, second]))
})

test('tasks of an agent that is none are refused with the known agents, and those of one without tasks are none', async () => {
  const { code, err } = await s2('task', 'list', '--agent', 'nonsense')
  assert.equal(code, 1)
  assert.match(err, /there is no agent "nonsense".*known are .*ann.*bob/s)
  assert.equal((await s2('task', 'list', '--agent', 'bbo')).code, 1)
  assert.equal(
    (await s2('task', 'list', '--agent', 'ann', '--state', 'in_progress')).out,
    'no such tasks are open; --all shows the ended ones too\n',
  )
  assert.equal((await s2('task', 'list', '--agent', await sessionOf('bob'), '--state', 'failed')).code, 0)
})

test('a description that is too long is refused by what is allowed: nobody has counted all of it', async () => {
  const { code, err } = await s2('task', 'add', 'x'.repeat(40_001), '--to', 'ann')
  assert.equal(code, 1)
  assert.match(err, /has more than the 40000 characters that are allowed/)
})

test('of many tasks the newest are listed, with a word that there are older ones', async () => {
  const made = await s2('conversation', 'create', '--role-b', 'archive', '--agent-b', 'eve', '--show-tokens')
  assert.equal(made.code, 0, made.err)
  for (const id of ['eve-1', 'eve-2', 'eve-3']) await add('x', '--to', 'eve', '--id', id)
  await add('x', '--role', 'any', '--id', 'newest-1')
  await add('x', '--role', 'any', '--id', 'newest-2')
  const listed = async (...argv: string[]): Promise<{ ids: string[]; err: string }> => {
    const { code, out, err } = await s2('task', 'list', '--json', ...argv)
    assert.equal(code, 0, err)
    return { ids: (JSON.parse(out) as Task[]).map(({ id }) => id), err }
  }
  const more = 's2: older tasks are not shown; --limit 10 shows more\n'
  assert.deepEqual(await listed('--limit', '2'), { ids: ['newest-1', 'newest-2'], err: more })
  assert.deepEqual(await listed('--all', '--limit', '2'), { ids: ['newest-1', 'newest-2'], err: more })
  assert.deepEqual(await listed('--agent', 'eve', '--limit', '2'), { ids: ['eve-2', 'eve-3'], err: more })
  assert.deepEqual(await listed('--agent', 'eve', '--limit', '3'), { ids: ['eve-1', 'eve-2', 'eve-3'], err: '' })
  assert.deepEqual(await listed('--agent', await sessionOf('eve'), '--limit', '3'), {
    ids: ['eve-1', 'eve-2', 'eve-3'],
    err: '',
  })
})
