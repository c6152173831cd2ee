/** What a session may do and see by the verbs of participants, asked of the permissions alone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Conversation } from '#fleet/conversation.ts'
import type { S2Error } from '#fleet/errors.ts'
import type { Incident } from '#fleet/incident.ts'
import type { Message } from '#fleet/message.ts'
import type { Addressee, FleetAgent, PeerRule } from '#fleet/peer-messages.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { NewTask, Task } from '#fleet/task.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import { onlyReads, Permissions } from '../../services/bridge/permissions.ts'
import { ManualClock, settle } from '../manual-clock.ts'

const TASK = { description: 'd', priority: 'P1', role: null, holder: null, deadline: null, createdBy: null } as const

class Scene implements AsyncDisposable {
  readonly clock = new ManualClock()
  readonly store = openMemoryStore({ clock: this.clock })
  /** How often the store was asked for its conversations. */
  asked = 0
  /** What it was asked for of its tasks. */
  readonly filters: object[] = []
  /** How many requests were taken from allowances beside the ones that were made. */
  spent = 0
  waitS = 0
  readonly permissions: Permissions

  constructor(peers: PeerRule = 'all') {
    const spend = (_: SessionId, requests: number): number => {
      this.spent += requests
      return this.waitS
    }
    this.permissions = new Permissions({ store: this.store, clock: this.clock, peers, spend })
    const conversations = this.store.conversations.bind(this.store)
    this.store.conversations = () => {
      this.asked += 1
      return conversations()
    }
    const tasks = this.store.tasks.bind(this.store)
    this.store.tasks = (filter) => {
      this.filters.push(filter)
      return tasks(filter)
    }
  }

  /** A conversation of two agents; answers its id and its sessions. */
  async open(worker: string, orchestrator = 'orchestrator', isForObserver = false, role = 'tests') {
    const { id } = await this.store.openConversation({
      roles: { a: 'orchestrator', b: role },
      agents: { a: orchestrator, b: worker },
      lifetimeMs: 3_600_000,
      isForObserver,
    })
    return { id, a: sessionId(id, 'a'), b: sessionId(id, 'b') }
  }

  /** Two workers of one orchestrator, a worker of another one, and an observer. */
  async fleet() {
    return {
      one: await this.open('s2-worker-1'),
      two: await this.open('s2-worker-2'),
      foreign: await this.open('s2-worker-3', 'another'),
      observer: (await this.open('wallboard', 'orchestrator', true)).b,
    }
  }

  call<T>(verb: Parameters<Permissions['call']>[0], input: object, self: SessionId): Promise<T> {
    return this.permissions.call(verb, input, self) as Promise<T>
  }

  add(self: SessionId, task: Partial<NewTask> & { readonly id: string }): Promise<Task> {
    return this.call<Task>('addTask', { task: { ...TASK, ...task } }, self)
  }

  post(from: SessionId, to: Addressee, self = from): Promise<Message[]> {
    this.#posts += 1
    return this.call<Message[]>('post', { from, to, key: `${this.#posts}`, draft: { text: 'hello' } }, self)
  }

  #posts = 0

  async agents(self: SessionId): Promise<string[]> {
    return (await this.call<FleetAgent[]>('listAgents', {}, self)).map(({ agent }) => agent)
  }

  async tasks(self: SessionId, filter: object = {}): Promise<string[]> {
    return (await this.call<Task[]>('tasks', { filter }, self)).map(({ id }) => id)
  }

  async conversations(self: SessionId): Promise<string[]> {
    return (await this.call<Conversation[]>('conversations', {}, self)).map(({ id }) => id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]()
  }
}

test('a worker sees its conversation, an orchestrator those of its agent, an observer all', async () => {
  await using scene = new Scene()
  const { one, two, foreign, observer } = await scene.fleet()
  assert.deepEqual(await scene.conversations(one.b), [one.id])
  assert.deepEqual(await scene.conversations(foreign.a), [foreign.id])
  const own = observer.slice(0, -2)
  assert.deepEqual(await scene.conversations(one.a), [one.id, two.id, own])
  assert.deepEqual(await scene.conversations(observer), [one.id, two.id, foreign.id, own])
})

test('a session whose conversation has ended leads that one alone', async () => {
  await using scene = new Scene()
  const { one, two } = await scene.fleet()
  await scene.add(two.a, { id: 't', holder: two.b })
  await scene.store.endConversation(one.id)
  scene.permissions.forget()
  assert.deepEqual(await scene.conversations(one.a), [])
  assert.deepEqual(await scene.tasks(one.a), [])
})

test('who leads which conversation is remembered for two seconds, or until it is forgotten', async () => {
  await using scene = new Scene()
  const { one, two } = await scene.fleet()
  assert.equal((await scene.tasks(one.a)).length, 0)
  const { asked } = scene
  await scene.tasks(one.a)
  scene.clock.pause(1_999)
  await scene.tasks(two.a)
  assert.equal(scene.asked, asked)
  const late = await scene.open('s2-worker-4')
  await assert.rejects(scene.add(one.a, { id: 't', holder: late.b }), { code: 'forbidden' })
  assert.equal((await scene.add(late.a, { id: 'own', holder: late.b })).holder, late.b, 'its own it leads at once')
  scene.clock.pause(1)
  assert.equal((await scene.add(one.a, { id: 't', holder: late.b })).holder, late.b)
  const later = await scene.open('s2-worker-5')
  scene.permissions.forget()
  assert.equal((await scene.add(one.a, { id: 'u', holder: later.b })).holder, later.b)
})

test('an orchestrator adds tasks in its own name, or in that of another session of its agent', async () => {
  await using scene = new Scene()
  const { one, two, foreign } = await scene.fleet()
  assert.equal((await scene.add(one.a, { id: 't1' })).createdBy, one.a)
  assert.equal((await scene.add(one.a, { id: 't2', createdBy: two.a, holder: two.b })).createdBy, two.a)
  const creator = { code: 'forbidden', message: /created by the session that asks/, next: new RegExp(one.a) }
  for (const createdBy of [one.b, foreign.a]) await assert.rejects(scene.add(one.a, { id: 't3', createdBy }), creator)
  const holder = { code: 'forbidden', message: /is not in one of your conversations/, next: /of yours/ }
  await assert.rejects(scene.add(one.a, { id: 't3', holder: foreign.b }), holder)
  await assert.rejects(scene.add(one.b, { id: 't3', holder: one.b }), {
    code: 'forbidden',
    message: "only the orchestrator's session of a conversation adds tasks",
    next: `ask ${one.a} to do it`,
  })
  await assert.rejects(scene.store.task('t3'), { code: 'not_found' })
})

test('an id that is taken is told, and not whose task it is; one’s own is answered again', async () => {
  await using scene = new Scene()
  const { one, foreign } = await scene.fleet()
  const task = { ...TASK, id: 't', createdBy: foreign.a, holder: foreign.b }
  await scene.store.addTask(task)
  await assert.rejects(scene.add(one.a, { id: 't' }), { code: 'conflict' })
  await scene.store.addTask({ ...TASK, id: 'admin' })
  await scene.add(one.a, { id: 'own' })
  assert.equal((await scene.add(one.a, { id: 'own' })).id, 'own')
  await assert.rejects(scene.call('task', { id: 't' }, one.a), {
    code: 'not_found',
    message: 'there is no task "t"',
  })
})

test('a task is seen by who holds it and by who created it, and by whom these are led', async () => {
  await using scene = new Scene()
  const { one, two, foreign, observer } = await scene.fleet()
  await scene.add(one.a, { id: 'held', holder: one.b })
  await scene.add(one.a, { id: 'pending' })
  await scene.add(two.a, { id: 'second', holder: two.b })
  await scene.add(foreign.a, { id: 'foreign', holder: foreign.b })
  await scene.store.addTask({ ...TASK, id: 'dealt', holder: one.b })
  const seen: [SessionId, string[]][] = [
    [one.a, ['held', 'pending', 'second', 'dealt']],
    [two.a, ['held', 'pending', 'second', 'dealt']],
    [one.b, ['held', 'dealt']],
    [two.b, ['second']],
    [foreign.a, ['foreign']],
    [observer, ['held', 'pending', 'second', 'foreign', 'dealt']],
  ]
  for (const [self, ids] of seen) {
    assert.deepEqual(await scene.tasks(self), ids, self)
    for (const { id } of await scene.store.tasks({})) {
      for (const [verb, input] of [
        ['task', { id }],
        ['evidence', { task: id }],
      ] as const) {
        if (ids.includes(id)) await scene.call(verb, input, self)
        else await assert.rejects(scene.call(verb, input, self), { code: 'not_found' }, `${verb} ${id} by ${self}`)
      }
    }
  }
  assert.equal((await scene.call<Task>('task', { id: 'held' }, one.b)).holder, one.b)
  assert.deepEqual(await scene.call('evidence', { task: 'held' }, one.b), [])
})

test('a list may be of one holder, of one state, and of a length: of those that may be seen', async () => {
  await using scene = new Scene()
  const { one, two, foreign } = await scene.fleet()
  for (const id of ['f1', 'f2']) await scene.add(foreign.a, { id, holder: foreign.b })
  for (const id of ['t1', 't2', 't3']) await scene.add(one.a, { id, holder: one.b })
  await scene.add(two.a, { id: 't4', holder: two.b })
  await scene.call('cancelTask', { id: 't2' }, one.a)
  assert.deepEqual(await scene.tasks(one.a, { holder: two.b }), ['t4'])
  assert.deepEqual(await scene.tasks(one.a, { state: 'cancelled' }), ['t2'])
  assert.deepEqual(await scene.tasks(one.b, { open: true }), ['t1', 't3'])
  assert.deepEqual(await scene.tasks(one.a, { limit: 2 }), ['t1', 't2'])
  assert.deepEqual(await scene.tasks(one.a, { limit: 2, newest: true }), ['t3', 't4'])
  assert.deepEqual(await scene.tasks(one.b, { limit: 10, newest: true }), ['t1', 't2', 't3'])
  for (const newest of [false, true]) assert.deepEqual(await scene.tasks(one.a, { limit: 0, newest }), [])
  const others = { code: 'forbidden', message: /are not yours to see/ }
  await assert.rejects(scene.tasks(one.a, { holder: foreign.b }), others)
  await assert.rejects(scene.tasks(one.b, { holder: two.b }), others)
  await assert.rejects(scene.tasks(one.b, { holder: one.a }), others)
  assert.deepEqual(await scene.tasks(one.b, { holder: one.b, limit: 1 }), ['t1'])
})

test('a worker’s list costs what it holds, and not what the fleet has', async () => {
  await using scene = new Scene()
  const { one } = await scene.fleet()
  await scene.tasks(one.b, { open: true, limit: 5 })
  await scene.tasks(one.b, { holder: one.b })
  assert.deepEqual(scene.filters, [{ open: true, holder: one.b }, { holder: one.b }])
})

test('an orchestrator withdraws what it sees, a worker nothing', async () => {
  await using scene = new Scene()
  const { one, two, foreign } = await scene.fleet()
  await scene.add(one.a, { id: 't', holder: one.b })
  await assert.rejects(scene.call('cancelTask', { id: 't' }, one.b), { code: 'forbidden', message: /withdraws tasks/ })
  await assert.rejects(scene.call('cancelTask', { id: 't' }, foreign.a), { code: 'not_found' })
  assert.equal((await scene.store.task('t')).state, 'assigned')
  assert.equal((await scene.call<Task>('cancelTask', { id: 't' }, two.a)).state, 'cancelled')
})

test('a session is told the verdicts on its own conversations', async () => {
  await using scene = new Scene()
  const { one, observer } = await scene.fleet()
  const names = ['orchestrator', 's2-worker-1', 's2-worker-2', 's2-worker-3', 'another', 'nobody']
  await scene.store.judge(names.map((agent) => ({ agent, verdict: 'late', since: 7, host: 'h' })))
  const told = async (self: SessionId): Promise<string[]> => {
    const { at, verdicts } = await scene.call<Awaited<ReturnType<Store['verdicts']>>>('verdicts', {}, self)
    assert.equal(at, scene.clock.wall())
    return verdicts.map(({ agent }) => agent)
  }
  assert.deepEqual(await told(one.b), ['orchestrator', 's2-worker-1'])
  assert.deepEqual(await told(observer), names.slice(0, 5))
})

test('a hint of new credentials reaches conversations of one’s own, or none where one is another’s', async () => {
  await using scene = new Scene()
  const { one, two, foreign } = await scene.fleet()
  const over = new AbortController()
  const hints = scene.store.credentialHints(over.signal)[Symbol.asyncIterator]()
  const heard = hints.next()
  const foreigner = { code: 'forbidden', message: new RegExp(`^${foreign.id} is not one of your conversations`) }
  const mixed = { conversations: [one.id, foreign.id] }
  for (const self of [one.a, one.b]) await assert.rejects(scene.call('hintCredentials', mixed, self), foreigner)
  assert.equal(await scene.call('hintCredentials', { conversations: [one.id, two.id] }, one.a), null)
  const nothing = settle().then(() => 'nothing was heard')
  assert.deepEqual(await Promise.race([heard, nothing]), { done: false, value: [one.id, two.id] })
  over.abort()
})

test('incidents are told to observers alone, and an observer does nothing', async () => {
  await using scene = new Scene()
  const { one, observer } = await scene.fleet()
  await scene.store.openIncident({ cause: 'c', kind: 'silent', agent: 's2-worker-1', summary: 's' }, [])
  await scene.store.openIncident({ cause: 'over', kind: 'silent', agent: 's2-worker-1', summary: 's' }, [])
  await scene.store.closeIncident('over', [])
  const told = await scene.call<Incident[]>('incidents', { filter: { open: true } }, observer)
  assert.deepEqual(
    told.map(({ cause }) => cause),
    ['c'],
  )
  for (const self of [one.a, one.b])
    await assert.rejects(scene.call('incidents', { filter: { open: true } }, self), {
      code: 'forbidden',
      next: /observer/,
    })
  await scene.add(one.a, { id: 't', holder: one.b })
  const refusal = { code: 'forbidden', message: onlyReads(observer).message }
  await assert.rejects(scene.add(observer, { id: 'u' }), refusal)
  await assert.rejects(scene.call('cancelTask', { id: 't' }, observer), refusal)
  await assert.rejects(scene.call('hintCredentials', { conversations: [one.id] }, observer), refusal)
})

test('by the rule a worker writes to all of its fleet, to its role, or to its orchestrator alone, and sees no others', async () => {
  const reached = async (rule: PeerRule) => {
    await using scene = new Scene(rule)
    const { one } = await scene.fleet()
    await scene.open('s2-worker-4', 'orchestrator', false, 'docs')
    const outcome = async (to: Addressee): Promise<string> =>
      await scene.post(one.b, to).then(
        (posted) => `${posted.length}`,
        ({ code, next }: S2Error) => (next === undefined ? 'no advice' : code),
      )
    return {
      peer: await outcome({ agent: 's2-worker-2' }),
      other: await outcome({ agent: 's2-worker-4' }),
      tests: await outcome({ role: 'tests' }),
      docs: await outcome({ role: 'docs' }),
      foreign: await outcome({ agent: 's2-worker-3' }),
      lead: await outcome({ agent: 'orchestrator' }),
      seen: (await scene.agents(one.b)).join(' '),
      lead_seen: (await scene.agents(one.a)).length,
    }
  }
  const lead = { lead: '1', lead_seen: 4 }
  assert.deepEqual(await reached('all'), {
    ...{ peer: '1', other: '1', tests: '1', docs: '1', foreign: 'not_found' },
    ...{ seen: 'orchestrator s2-worker-1 s2-worker-2 s2-worker-4', ...lead },
  })
  assert.deepEqual(await reached('role'), {
    ...{ peer: '1', other: 'forbidden', tests: '1', docs: 'forbidden', foreign: 'forbidden' },
    ...{ seen: 'orchestrator s2-worker-1 s2-worker-2', ...lead },
  })
  assert.deepEqual(await reached('none'), {
    ...{ peer: 'forbidden', other: 'forbidden', tests: 'forbidden', docs: 'forbidden', foreign: 'forbidden' },
    ...{ seen: 'orchestrator s2-worker-1', ...lead },
  })
})

test('an orchestrator writes to its workers whatever the rule, and to no other fleet', async () => {
  await using scene = new Scene('none')
  const { one, two } = await scene.fleet()
  assert.deepEqual(
    (await scene.post(one.a, { agent: 's2-worker-2' })).map(({ to }) => to),
    [two.b],
  )
  await assert.rejects(scene.post(one.a, { agent: 's2-worker-3' }), { code: 'not_found' })
})

test('nobody writes for another session, and an observer writes to nobody', async () => {
  await using scene = new Scene()
  const { one, two, observer } = await scene.fleet()
  await assert.rejects(scene.post(two.b, { agent: 's2-worker-1' }, one.b), { code: 'forbidden' })
  await assert.rejects(scene.post(observer, { agent: 's2-worker-1' }), { code: 'forbidden' })
  assert.deepEqual(await scene.agents(observer), [
    ...['another', 'orchestrator', 's2-worker-1', 's2-worker-2', 's2-worker-3'],
  ])
})

test('a message to a role costs a request for each reader, and is refused where they are spent', async () => {
  await using scene = new Scene()
  const { one } = await scene.fleet()
  for (const name of ['w-5', 'w-6', 'w-7']) await scene.open(name)
  await scene.post(one.b, { role: 'tests' })
  assert.equal(scene.spent, 3, 'of four, as the request itself was counted')
  scene.waitS = 7
  await assert.rejects(scene.post(one.b, { role: 'tests' }), { code: 'rate_limited', retryAfterS: 7 })
})
