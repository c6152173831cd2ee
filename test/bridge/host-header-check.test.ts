import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Beat } from '#fleet/beat.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { systemClock } from '#runtime/clock.ts'
import type { Keyring } from '#store/remote/keyring.ts'
import type { RemoteStore } from '#store/remote/remote.ts'
import type { Store } from '#store/store.ts'
import { singly } from '../singly.ts'
import { until } from '../until.ts'
import { Ground, type Seat } from './ground.ts'
import { Weather } from './weather.ts'

function refused(code: Code): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof S2Error, String(error))
    assert.equal(error.code, code, error.message)
    return true
  }
}

function ringOf(...seats: readonly Seat[]): Keyring & { readonly tokens: Map<SessionId, string> } {
  const tokens = new Map(seats.map(({ session, token }) => [session, token]))
  return { tokens, token: (session) => tokens.get(session), sessions: () => [...tokens.keys()] }
}

function beatOf(session: SessionId, seq: number): Beat {
  return { session, host: 'h', incarnation: 'i', seq, work: 0 }
}

/** What comes, comes by the socket. */
const NEVER_POLLED = { pollMs: { first: 3_600_000, most: 3_600_000 } }

/** Reads mail until told to stop. */
class Reader implements AsyncDisposable {
  readonly got: StoredMessage[] = []
  readonly #stop = new AbortController()
  readonly #done: Promise<void>

  constructor(store: Pick<Store, 'mail'>, session: SessionId, after = 0) {
    this.#done = (async () => {
      for await (const message of singly(store.mail(session, after, this.#stop.signal))) this.got.push(message)
    })()
  }

  get texts(): string[] {
    return this.got.map(({ text }) => text)
  }

  async has(count: number): Promise<void> {
    await until(`${count} messages`, () => this.got.length >= count)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#done
  }
}

async function linked(store: RemoteStore): Promise<void> {
  await until('the socket is open', () => store.link.means === 'socket')
}

test('a clock that is wrong by hours is put right by the bridge, in passing', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  for (const hours of [-87_600, -1, 1, 87_600]) {
    ground.clientClock.offsetMs = hours * 3_600_000
    const store = ground.as([a])
    assert.equal((await store.send(a.session, `key ${hours}`, { text: 'x' })).text, 'x')
    assert.equal((await store.send(a.session, `next ${hours}`, { text: 'y' })).text, 'y')
  }
  assert.equal(ground.metric('s2_bridge_refused_expired_total'), 4, 'once each')
})

test('a bridge that has just started is waited for', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const store = ground.as([a])
  await ground.restart(false)
  await store.send(a.session, 'k', { text: 'x' })
  assert.ok(ground.metric('s2_bridge_refused_expired_total') >= 1)
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 1)
})

test('without a bridge one is told so, and what to do', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const store = ground.as([a])
  const admin = ground.remote(ground.admin, null)
  await ground.stop()
  await assert.rejects(store.send(a.session, 'k', { text: 'x' }), (error) => {
    refused('unavailable')(error)
    assert.match((error as S2Error).next ?? '', /start the bridge/)
    assert.ok(!String((error as S2Error).message).includes(a.token))
    return true
  })
  await assert.rejects(admin.conversations(), refused('unavailable'))
  await assert.rejects(
    ground.remote(`unix:${ground.state}/${'deep/'.repeat(40)}admin.sock`, null).conversations(),
    refused('unavailable'),
  )
  assert.equal(store.link.means, 'away')
  await ground.start()
})

test('when the answer is lost, what can be asked again is, and the rest is told to be unknown', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  await ground.store.addTask({
    id: 't',
    description: 'd',
    priority: 'P1',
    role: null,
    holder: b.session,
    deadline: null,
    createdBy: a.session,
  })
  await using weather = await Weather.open(ground.port)
  const store = ground.remote(weather.url, ringOf(a, b))
  weather.losesAnswers = true
  await assert.rejects(store.send(a.session, 'k', { text: 'x' }), refused('unknown_outcome'))
  assert.equal(weather.connections, 3)
  await assert.rejects(store.leaseTask(b.session, 'i'), refused('unknown_outcome'))
  assert.equal(weather.connections, 6)
  const act = { actor: a.session, action: 'guard_started', details: {} }
  await assert.rejects(store.record(act), refused('unknown_outcome'))
  assert.equal(weather.connections, 7)
  await assert.rejects(store.unacked(b.session, 0, 1), refused('unavailable'))
  weather.losesAnswers = false
  await store.send(a.session, 'k', { text: 'x' })
  const texts = (await store.unacked(b.session, 0, 10)).map(({ text }) => text)
  assert.equal(texts.filter((text) => text === 'x').length, 1)
})

test('fifty hosts lose nothing while the bridge restarts under load, and get it in order', async (t) => {
  await using ground = await Ground.open()
  const channels = await Promise.all(Array.from({ length: 50 }, (_, n) => ground.channel(`s2-worker-${n}`)))
  await using readers = new AsyncDisposableStack()
  const hosts = channels.map(({ b }) => readers.use(new Reader(ground.as([b], NEVER_POLLED), b.session)))
  let sent = 0
  const load = async (rounds: number): Promise<void> => {
    for (let round = 0; round < rounds; round += 1) {
      for (const { a } of channels)
        await ground.store.send(a.session, String(sent), { text: String(round + sent / 1e9) })
      sent += 1
      await systemClock.sleep(2)
    }
  }
  await load(20)
  await Promise.all(hosts.map((host) => host.has(1)))
  const [, began] = await Promise.all([load(150), ground.restart().then(() => systemClock.now())])
  await Promise.all(hosts.map((host) => host.has(170)))
  const resumedMs = systemClock.now() - began
  t.diagnostic(`all are served again ${resumedMs.toFixed(0)} ms after the restart, which may be 5 s`)
  for (const { got } of hosts) {
    const ids = got.map(({ id }) => id)
    assert.equal(new Set(ids).size, 170)
    assert.deepEqual(
      ids,
      [...ids].sort((x, y) => x - y),
    )
  }
})

test('a new token is taken over without a word to the other sessions', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel()
  const two = await ground.channel('s2-worker-2')
  const ring = ringOf(one.b, two.b)
  const store = ground.remote(ground.bridge.url, ring, { probeMs: 40 })
  await using first = new Reader(store, one.b.session)
  await using second = new Reader(store, two.b.session)
  await until('both have joined', () => ground.metric('s2_bridge_sessions') === 2)
  const admin = ground.remote(ground.admin, null)
  await ground.store.send(one.a.session, '1', { text: 'by the old' })
  await first.has(1)
  for (const round of [1, 2, 3]) {
    // Each rotation ends the token before the last one: whoever has not moved on meanwhile is put out.
    ring.tokens.set(one.b.session, await admin.rotateToken(one.b.session, 60_000))
    await systemClock.sleep(150)
    await ground.store.send(one.a.session, `new ${round}`, { text: `by new ${round}` })
    await first.has(1 + round)
  }
  await ground.store.send(two.a.session, '1', { text: 'undisturbed' })
  await second.has(1)
  assert.deepEqual(first.texts, ['by the old', 'by new 1', 'by new 2', 'by new 3'])
  assert.equal(ground.metric('s2_bridge_refused_unauthenticated_total'), 0)
  assert.equal(ground.clientLog.records.filter(({ event }) => event === 'link open').length, 1)
})

test('a session that is refused does not keep the others from beating and reading', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel()
  const two = await ground.channel('s2-worker-2')
  const ring = ringOf(one.b, { ...two.b, token: 'f'.repeat(64) })
  const store = ground.remote(ground.bridge.url, ring, { probeMs: 40 })
  await using reader = new Reader(store, one.b.session)
  await using hopeful = new Reader(store, two.b.session)
  await ground.store.send(one.a.session, '1', { text: 'x' })
  await ground.store.send(two.a.session, '1', { text: 'y' })
  await reader.has(1)
  for (const seq of [1, 2]) {
    await assert.rejects(
      store.beat([beatOf(two.b.session, seq), beatOf(one.b.session, seq)]),
      refused('unauthenticated'),
    )
  }
  assert.deepEqual(
    (await ground.store.pulses(0)).pulses.map(({ session, seq }) => [session, seq]),
    [[one.b.session, 2]],
  )
  ring.tokens.set(two.b.session, two.b.token)
  await hopeful.has(1)
  await store.beat([beatOf(two.b.session, 3)])
})

test('a bridge that has stopped answering is noticed, and mail goes on when it answers again', async (t) => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  await using weather = await Weather.open(ground.port)
  const probeMs = 200
  const store = ground.remote(weather.url, ringOf(b), { probeMs, callMs: 300 })
  await using reader = new Reader(store, b.session)
  await linked(store)
  await store.beat([beatOf(b.session, 1)])
  await until('it beats over the socket', async () => {
    await store.beat([beatOf(b.session, 2)])
    return ground.metric('s2_bridge_sessions') === 1
  })
  weather.freeze()
  const frozen = systemClock.now()
  await assert.rejects(store.beat([beatOf(b.session, 3)]), refused('unavailable'))
  const noticedMs = systemClock.now() - frozen
  t.diagnostic(`noticed after ${noticedMs.toFixed(0)} ms: two beats are ${2 * probeMs}`)
  assert.notEqual(store.link.means, 'socket')
  await ground.store.send(a.session, 'k', { text: 'meanwhile' })
  weather.thaw()
  await reader.has(1)
  await until('it beats again', () =>
    store.beat([beatOf(b.session, 4)]).then(
      () => true,
      () => false,
    ),
  )
})

test('even when nothing is said, a dead socket is noticed', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  await using weather = await Weather.open(ground.port)
  const store = ground.remote(weather.url, ringOf(b), { probeMs: 100 })
  await using _reader = new Reader(store, b.session)
  await linked(store)
  weather.freeze()
  await until('it is noticed', () => store.link.means !== 'socket')
})

test('where only plain HTTP gets through, mail is asked for and beats are posted', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  await using weather = await Weather.open(ground.port, (bytes) => !/upgrade: websocket/i.test(bytes))
  const store = ground.remote(weather.url, ringOf(b), { pollMs: { first: 20, most: 50 } })
  await using reader = new Reader(store, b.session)
  for (let sent = 0; sent < 250; sent += 1) await ground.store.send(a.session, String(sent), { text: String(sent) })
  await reader.has(250)
  assert.deepEqual(
    reader.texts,
    Array.from({ length: 250 }, (_, sent) => String(sent)),
  )
  await store.beat([beatOf(b.session, 1)])
  assert.equal((await ground.store.pulses(0)).pulses[0]?.seq, 1)
  await store.mark(
    b.session,
    reader.got.map(({ id }) => id),
    'acked',
  )
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 0)
  await until('it knows that no socket gets through', () => store.link.means === 'polling')
})

test('where no mail waits, it is asked for no oftener than was said', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  await using weather = await Weather.open(ground.port, (bytes) => !/upgrade: websocket/i.test(bytes))
  const askedAt: number[] = []
  const { unacked } = ground.store
  ground.store.unacked = (...which) => {
    askedAt.push(systemClock.now())
    return unacked.apply(ground.store, which)
  }
  const store = ground.remote(weather.url, ringOf(b), { pollMs: { first: 60, most: 120 } })
  await using _reader = new Reader(store, b.session)
  await until('it has been asked again and again', () => askedAt.length >= 6)
  const pauses = askedAt.slice(1).map((at, n) => at - (askedAt[n] ?? 0))
  assert.ok(Math.min(...pauses) >= 60, `pauses of ${pauses.map(Math.round)} ms`)
})

test('mail that the socket brings does not wait for the answer to a question that was asked without one', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  let isSocketBarred = true
  await using weather = await Weather.open(
    ground.port,
    (bytes) => !(isSocketBarred && /upgrade: websocket/i.test(bytes)),
  )
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<StoredMessage[]>()
  const store = ground.remote(weather.url, ringOf(b), { pollMs: { first: 1, most: 1 } })
  store.unacked = () => {
    asked.resolve()
    return answer.promise // the client itself would give up on a bridge that does not answer
  }
  await using reader = new Reader(store, b.session)
  await asked.promise
  isSocketBarred = false
  await ground.store.send(a.session, '1', { text: 'pushed' })
  await linked(store)
  await reader.has(1)
  answer.resolve([])
})

test('a socket that breaks again and again loses no message', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  await using weather = await Weather.open(ground.port)
  const store = ground.remote(weather.url, ringOf(b), { probeMs: 50 })
  await using reader = new Reader(store, b.session)
  await using late = new Reader(store, b.session)
  let cuts = 0
  for (let sent = 0; sent < 600; sent += 1) {
    await ground.store.send(a.session, String(sent), { text: String(sent) })
    if (sent % 150 === 50) {
      await reader.has(sent - 40)
      weather.cut()
      cuts += 1
    }
  }
  await reader.has(600)
  await late.has(600)
  assert.equal(cuts, 4)
  const all = Array.from({ length: 600 }, (_, sent) => String(sent))
  assert.deepEqual(reader.texts, all)
  assert.deepEqual(late.texts, all)
})

test('a second reader of a session begins where it wants to, and disturbs the first one in nothing', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const store = ground.as([b])
  for (let sent = 0; sent < 300; sent += 1) await ground.store.send(a.session, String(sent), { text: String(sent) })
  await using first = new Reader(store, b.session, 250)
  await first.has(50)
  await using second = new Reader(store, b.session)
  await second.has(300)
  await ground.store.send(a.session, 'new', { text: 'new' })
  await first.has(51)
  await second.has(301)
  assert.deepEqual(first.texts, second.texts.slice(250))
})

test('readers that come while mail is flowing get all of it', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const store = ground.as([b])
  await using readers = new AsyncDisposableStack()
  const all: Reader[] = []
  for (let sent = 0; sent < 1_000; sent += 1) {
    if (sent % 100 === 0) all.push(readers.use(new Reader(store, b.session)))
    await ground.store.send(a.session, String(sent), { text: String(sent) })
    if (sent % 10 === 0) await systemClock.sleep(0)
  }
  const whole = Array.from({ length: 1_000 }, (_, sent) => String(sent))
  for (const reader of all) {
    await reader.has(1_000)
    assert.deepEqual(reader.texts, whole)
  }
})

test('a reader that is slow to take gets all, in order, and only what it takes is under way', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  for (let sent = 0; sent < 700; sent += 1) await ground.store.send(a.session, String(sent), { text: String(sent) })
  const store = ground.as([b])
  const stop = new AbortController()
  const mail = singly(store.mail(b.session, 0, stop.signal))[Symbol.asyncIterator]()
  for (let read = 0; read < 700; read += 1) {
    assert.equal((await mail.next()).value.text, String(read))
    if (read === 100) {
      await systemClock.sleep(50)
      assert.ok(ground.metric('s2_bridge_mail_total') <= 256 + 101)
    }
  }
  stop.abort()
  assert.equal((await mail.next()).done, true)
})

test('marks over the socket are not counted as requests, and many at once are no offence', async () => {
  await using ground = await Ground.open({ S2_RATE: '5' })
  const { a, b } = await ground.channel()
  const store = ground.as([b])
  await using reader = new Reader(store, b.session)
  for (let sent = 0; sent < 300; sent += 1) await ground.store.send(a.session, String(sent), { text: String(sent) })
  await reader.has(300)
  await Promise.all(reader.got.map(({ id }) => store.mark(b.session, [id], 'acked')))
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 0)
})

test('what a host may not do is refused, and what it has no credential for is not even asked', async () => {
  await using ground = await Ground.open()
  const { opened, a, b } = await ground.channel()
  const other = await ground.channel('s2-worker-2', 'another orchestrator')
  const store = ground.as([b])
  await assert.rejects(store.endConversation(opened.id), refused('forbidden'))
  await assert.rejects(store.send(a.session, 'k', { text: 'x' }), refused('unauthenticated'))
  await assert.rejects(store.traffic(0, AbortSignal.timeout(1000))[Symbol.asyncIterator]().next(), refused('forbidden'))
  await assert.rejects(ground.as([]).conversations(), refused('unauthenticated'))
  assert.throws(() => ground.remote('https://user:pass@host', ringOf()), refused('invalid'))
  assert.throws(() => ground.remote('http://127.0.0.1:1', null), refused('invalid'))

  const lead = ground.as([a])
  const task = { description: 'd', priority: 'P1', role: null, deadline: null } as const
  await lead.addTask({ ...task, id: 'mine', holder: b.session, createdBy: a.session })
  await lead.addTask({ ...task, id: 'pending', holder: null, createdBy: a.session })
  await ground.store.addTask({ ...task, id: 'theirs', holder: other.b.session, createdBy: other.a.session })
  assert.deepEqual((await lead.tasks({})).map(({ id }) => id).sort(), ['mine', 'pending'])
  assert.deepEqual(
    (await store.tasks({})).map(({ id }) => id),
    ['mine'],
  )
  assert.deepEqual(
    (await store.conversations()).map(({ id }) => id),
    [opened.id],
  )
  assert.equal((await store.task('mine')).id, 'mine')
  for (const each of [lead, store]) {
    await assert.rejects(each.task('theirs'), refused('not_found'))
    await assert.rejects(each.evidence('theirs'), refused('not_found'))
    await assert.rejects(each.cancelTask('theirs'), each === lead ? refused('not_found') : refused('forbidden'))
    await assert.rejects(each.tasks({ holder: other.b.session }), refused('forbidden'))
  }
  await assert.rejects(
    lead.addTask({ ...task, id: 'x', holder: other.b.session, createdBy: a.session }),
    refused('forbidden'),
  )
  await assert.rejects(
    lead.addTask({ ...task, id: 'x', holder: b.session, createdBy: other.a.session }),
    refused('forbidden'),
  )
  assert.equal((await lead.addTask({ ...task, id: 'unsaid', holder: null, createdBy: null })).createdBy, a.session)
  await assert.rejects(
    lead.addTask({ ...task, id: 'theirs', holder: b.session, createdBy: a.session }),
    refused('conflict'),
  )
  await assert.rejects(
    store.addTask({ ...task, id: 'x', holder: b.session, createdBy: b.session }),
    refused('forbidden'),
  )
  await assert.rejects(store.cancelTask('mine'), refused('forbidden'))
  assert.equal((await lead.cancelTask('mine')).state, 'cancelled')
})

test('a session is shown what is thought of itself and of whom it speaks with, and of nobody else', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel('s2-worker-1')
  const two = await ground.channel('s2-worker-2')
  const other = await ground.channel('s2-worker-3', 'another orchestrator')
  assert.deepEqual(await ground.as([one.b]).verdicts(), { at: null, verdicts: [] })
  const names = ['orchestrator', 's2-worker-1', 's2-worker-2', 's2-worker-3', 'another orchestrator', 'ended']
  await ground.store.judge(names.map((agent) => ({ agent, verdict: 'late', since: 7, host: 'h' })))
  const shown = async (seat: Seat): Promise<string[]> => {
    const { at, verdicts } = await ground.as([seat]).verdicts()
    assert.ok(at !== null)
    assert.ok(verdicts.every(({ verdict, since, host }) => verdict === 'late' && since === 7 && host === 'h'))
    return verdicts.map(({ agent }) => agent).sort()
  }
  assert.deepEqual(await shown(one.b), ['orchestrator', 's2-worker-1'])
  assert.deepEqual(await shown(two.b), ['orchestrator', 's2-worker-2'])
  assert.deepEqual(await shown(one.a), ['orchestrator', 's2-worker-1', 's2-worker-2'])
  assert.deepEqual(await shown(other.b), ['another orchestrator', 's2-worker-3'])
})

test('an orchestrator deals tasks to all conversations that it leads', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel('s2-worker-1')
  const two = await ground.channel('s2-worker-2')
  const lead = ground.as([one.a])
  const task = await lead.addTask({
    id: 't',
    description: 'd',
    priority: 'P1',
    role: null,
    holder: two.b.session,
    deadline: null,
    createdBy: one.a.session,
  })
  assert.equal(task.holder, two.b.session)
  assert.equal((await lead.conversations()).length, 2)
})

test('streams of the administration go on after a restart, where they were', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const admin = ground.remote(ground.admin, null)
  await using reader = new Reader(admin, b.session)
  const stop = new AbortController()
  const seen: number[] = []
  const watching = (async () => {
    for await (const batch of admin.traffic(0, stop.signal)) seen.push(...batch.map(({ id }) => id))
  })()
  await ground.store.send(a.session, '1', { text: '1' })
  await reader.has(1)
  await ground.stop()
  await ground.store.send(a.session, '2', { text: '2' })
  await ground.start()
  await ground.store.send(b.session, '3', { text: '3' })
  await reader.has(2)
  await until('all traffic', () => seen.length >= 3)
  assert.equal(new Set(seen).size, 3)
  assert.deepEqual(reader.texts, ['1', '2'])
  stop.abort()
  await watching
})

test('a store that is closed says so, and its mail ends', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const store = ground.as([a, b])
  await using reader = new Reader(store, b.session)
  await linked(store)
  await store[Symbol.asyncDispose]()
  await assert.rejects(store.send(a.session, 'k', { text: 'x' }), refused('unavailable'))
  await reader[Symbol.asyncDispose]()
  await until('the bridge sees it leave', () => ground.metric('s2_bridge_hosts') === 0)
})
