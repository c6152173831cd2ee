/** An observer sees the whole fleet and changes nothing of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agentsOf } from '#fleet/conversation.ts'
import { sessionId } from '#fleet/session-id.ts'
import { VERBS, type VerbName } from '#store/remote/wire-schema.ts'
import { Ground } from './ground.ts'

const LIFETIME_MS = 3_600_000

async function watched() {
  const ground = await Ground.open()
  const channel = await ground.channel('s2-worker-1')
  const { id, tokens } = await ground.store.openConversation({
    roles: { a: 'orchestrator', b: 'observer' },
    agents: { a: 'orchestrator', b: 'wallboard' },
    lifetimeMs: LIFETIME_MS,
    isForObserver: true,
  })
  const seat = { session: sessionId(id, 'b'), token: tokens.b }
  const task = { id: 't', description: 'd', priority: 'P1', role: null, deadline: null } as const
  await ground.store.addTask({ ...task, holder: channel.b.session, createdBy: channel.a.session })
  await ground.store.openIncident({ cause: 'c', kind: 'silent', agent: 's2-worker-1', summary: 's' }, [])
  return {
    ground,
    channel,
    seat,
    observer: ground.as([seat]),
    [Symbol.asyncDispose]: () => ground[Symbol.asyncDispose](),
  }
}

test('an observer reads conversations, tasks, verdicts and incidents of the whole fleet', async () => {
  await using scene = await watched()
  const { observer, ground, channel } = scene
  await ground.store.judge([{ agent: 's2-worker-1', verdict: 'late', since: 7, host: 'h' }])
  assert.equal((await observer.conversations()).length, 2)
  assert.deepEqual(
    (await observer.tasks({})).map(({ id }) => id),
    ['t'],
  )
  assert.equal((await observer.task('t')).holder, channel.b.session)
  assert.deepEqual(await observer.evidence('t'), [])
  assert.deepEqual(
    (await observer.verdicts()).verdicts.map(({ agent }) => agent),
    ['s2-worker-1'],
  )
  assert.deepEqual(
    (await observer.incidents({ open: true })).map(({ cause }) => cause),
    ['c'],
  )
  await assert.rejects(ground.as([channel.a]).incidents({ open: true }), { code: 'forbidden' })
})

test('whatever else there is, an observer is refused: each verb that writes, and each of a session', async () => {
  await using scene = await watched()
  const { ground, seat, channel } = scene
  const reads = new Set<VerbName>([
    'conversations',
    'tasks',
    'task',
    'evidence',
    'verdicts',
    'lastStatus',
    'incidents',
    'listAgents',
    'reservations',
  ])
  const { session } = seat
  const inputs: Partial<Record<VerbName, object>> = {
    send: { from: session, key: 'k', draft: { text: 'x' } },
    unacked: { reader: session, after: 0, limit: 1 },
    mark: { reader: session, ids: [1], mark: 'acked' },
    beat: { beats: [{ session, host: 'h', incarnation: 'i', seq: 1, work: 0 }] },
    leaseTask: { holder: session, incarnation: 'i' },
    report: { holder: session, report: { task: 't', epoch: 1, state: 'completed', progress: null, result: null } },
    record: { act: { actor: session, action: 'guard_started', details: {} } },
    noteRefusal: { session, why: 'w' },
    noteCondition: { session, condition: null },
    noteStatus: { session, status: 'blocked' },
    confirmToken: { session, tokenHash: 'A'.repeat(43) },
    addTask: {
      task: { id: 'u', description: 'd', priority: 'P1', role: null, holder: null, deadline: null, createdBy: session },
    },
    cancelTask: { id: 't' },
    post: { from: session, to: { agent: 's2-worker-1' }, key: 'k', draft: { text: 'x' } },
    leaseMessages: { reader: session, by: 'me', limit: 1, leaseMs: 1_000 },
    noteLeases: { reader: session, notes: [] },
    giveUpMessages: { reader: session, ids: [1], why: 'w' },
    messageStatus: { id: 1 },
    deadLetters: {},
    retryMessages: { ids: [1] },
    dropMessages: { ids: [1] },
    reserveFiles: {
      holder: session,
      wanted: { repository: ['r'], globs: ['g'], mode: 'shared', forMs: 1_000, task: null, epoch: null, note: null },
    },
    releaseFiles: { holder: channel.b.session, which: { repository: null, globs: null } },
    noteUncheckedCommit: { by: session, commit: { repository: ['r'], commit: 'c', paths: [] } },
    hintCredentials: { conversations: [channel.b.session.split('/')[0] ?? ''] },
  }
  for (const [name, { who }] of Object.entries(VERBS)) {
    if (reads.has(name as VerbName) || who === 'public' || who === 'admin') continue
    const input = inputs[name as VerbName]
    assert.ok(input !== undefined, `${name} is not tried here`)
    const body = JSON.stringify(input)
    const answer = await ground.ask({
      path: `/v1/${name}`,
      body,
      headers: ground.signed(seat, body, { path: `/v1/${name}` }),
    })
    assert.equal(answer.status, 403, `${name}: ${answer.text}`)
  }
  assert.equal((await ground.store.task('t')).state, 'assigned')
})

test('an observer is no agent of the fleet, and takes no part in it over a socket', async () => {
  await using scene = await watched()
  const { ground, seat } = scene
  assert.deepEqual(
    agentsOf(await ground.store.conversations()).map(({ name }) => name),
    ['orchestrator', 's2-worker-1'],
  )
  const store = ground.as([seat])
  await assert.rejects(store.beat([{ session: seat.session, host: 'h', incarnation: 'i', seq: 1, work: 0 }]), {
    code: 'forbidden',
  })
  assert.deepEqual((await ground.store.pulses(0)).pulses, [])
})
