import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { CONFIG, Ground, LIFETIME_MS } from './ground.ts'

test('it beats for each session at its pace, by a rising number, and says how much work was seen', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  ground.start()
  await ground.pass(0)
  const first = await ground.pulse(b)
  assert.deepEqual(
    { ...first, version: 0, seq: 0 },
    { session: b, host: 'host-1', incarnation: 'life-1', seq: 0, work: 0, version: 0 },
  )
  assert.ok(await ground.pulse(other.b))
  for (let beat = 1; beat <= 12; beat += 1) {
    const before = (await ground.pulse(b))?.seq ?? 0
    await ground.pass(CONFIG.beatMs)
    const seq = (await ground.pulse(b))?.seq ?? 0
    assert.ok(seq === before + 1 || seq === before + 2, `${before} → ${seq}`)
  }
  assert.equal((await ground.pulse(b))?.work, 0, 'a daemon that beats does not vouch for its agent')

  await tell('hello')
  await ground.pass(CONFIG.beatMs)
  assert.equal((await ground.pulse(b))?.work, 0, 'nor does mail that nobody read')
  await ground.inbox.ack([1])
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'hi' } })
  await ground.pass(2 * CONFIG.beatMs)
  assert.equal((await ground.pulse(b))?.work, 2)
  assert.equal((await ground.pulse(other.b))?.work, 0)

  ground.kill()
  ground.start()
  await ground.pass(0)
  const next = await ground.pulse(b)
  assert.equal(next?.incarnation, 'life-2')
  assert.ok((next?.seq ?? 0) <= 2)
})

test('that a task came or went its worker reads also while a command of it hangs: an ack of that is no sign of work', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start()
  await ground.pass(0)
  await tell(JSON.stringify({ type: 'task_assignment', task_id: 'T-1', description: 'build it' }))
  await tell(JSON.stringify({ type: 'task_revoked', task_id: 'T-1', reason: 'another agent has it' }))
  await tell(JSON.stringify({ type: 'task_cancelled', task_id: 'T-2' }))
  await tell(JSON.stringify({ type: 'question', task_id: 'T-2', message: 'how far is it?' }))
  await ground.pass(CONFIG.beatMs)
  await ground.inbox.ack([1, 2, 3])
  await ground.pass(2 * CONFIG.beatMs)
  assert.equal((await ground.pulse(b))?.work, 0)
  await ground.inbox.ack([4])
  await ground.pass(2 * CONFIG.beatMs)
  assert.equal((await ground.pulse(b))?.work, 1)
})

test('where only requests get through it beats seldom, and as before once a socket opens', async () => {
  const ground = new Ground()
  const { b } = await ground.channel()
  const beats = (): number => ground.bridge.calls.filter(({ verb }) => verb === 'beat').length
  ground.weather.means = 'polling'
  ground.start()
  await ground.pass(30_000)
  const began = beats()
  await ground.pass(300_000)
  assert.ok(beats() - began >= 9 && beats() - began <= 12, `${beats() - began} beats in 300 s`)
  assert.match(ground.statuses.at(-1) ?? '', /^1 session, polling, /)
  ground.weather.means = 'socket'
  await ground.pass(CONFIG.beatMs)
  const linked = beats()
  await ground.pass(50_000)
  assert.ok(beats() - linked >= 9, `${beats() - linked} beats in 50 s`)
  assert.match(ground.statuses.at(-1) ?? '', /^1 session, linked, /)

  // Away is not polling: as soon as it answers, beats come as often as ever.
  Object.assign(ground.weather, { means: 'away', away: true })
  await ground.pass(120_000)
  Object.assign(ground.weather, { means: 'socket', away: false })
  const seq = (await ground.pulse(b))?.seq ?? 0
  await ground.pass(CONFIG.beatMs)
  assert.ok(((await ground.pulse(b))?.seq ?? 0) > seq)
})

test('beats wait for nothing: not for mail, not for the outbox, not for a beat that is never answered', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  for (const verb of ['send', 'mark', 'conversations']) ground.weather.hangs.add(verb)
  for (let n = 0; n < 300; n += 1) await ground.outbox.put({ kind: 'send', from: b, draft: { text: `${n}` } })
  await tell('mail')
  ground.inbox.isFull = true
  ground.start()
  await ground.pass(60_000)
  assert.ok(((await ground.pulse(b))?.seq ?? 0) >= 12)
  ground.weather.hangs.add('beat')
  await ground.pass(30_000)
  assert.match(Object.values(ground.troubles).join(), /cannot be reached since 2025-.*has not answered a beat/)
  ground.weather.hangs.delete('beat')
  const seq = (await ground.pulse(b))?.seq ?? 0
  await ground.pass(15_000)
  assert.ok(((await ground.pulse(b))?.seq ?? 0) > seq)
})

test('a session that the bridge refuses on its socket is known to be locked out at once, however long the pace of beats', async () => {
  const ground = new Ground()
  const { b } = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  ground.start({ beatMs: 300_000 })
  await ground.pass(1_000)
  const beats = (): number => ground.bridge.calls.filter(({ verb }) => verb === 'beat').length
  await ground.store.rotateToken(b, 0)
  ground.bridge.refused.give([b])
  await ground.pass(1_000)
  assert.match(Object.values(ground.troubles).join(), new RegExp(`the bridge does not let ${b} speak: `))
  assert.equal(ground.hints, 1)
  // Its joins go on being refused: nothing beats more often for that.
  const before = beats()
  for (let n = 0; n < 5; n += 1) {
    ground.bridge.refused.give([b])
    await ground.pass(1_000)
  }
  assert.equal(beats(), before)
  // The refusal may concern a token that was replaced meanwhile: only the answer to a beat counts.
  ground.bridge.refused.give([other.b])
  await ground.pass(1_000)
  assert.doesNotMatch(Object.values(ground.troubles).join(), new RegExp(other.b))
})

test('a message is delivered, leased and acked as the agent has it, and then forgotten', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start()
  await ground.pass(0)
  await tell('one')
  await tell('two')
  await ground.pass(0)
  assert.deepEqual(await ground.deliveryOf(b), { one: 'delivered', two: 'delivered' })
  assert.deepEqual(
    (await ground.inbox.take(1)).map(({ text }) => text),
    ['one'],
  )
  await ground.pass(CONFIG.pollMs)
  assert.deepEqual(await ground.deliveryOf(b), { one: 'leased', two: 'delivered' })
  await ground.inbox.ack([1])
  await ground.pass(CONFIG.pollMs)
  assert.deepEqual(await ground.deliveryOf(b), { two: 'delivered' })
  assert.deepEqual(await ground.inbox.list('done'), [])
  assert.equal(ground.metric('delivered_total'), 2)
  assert.equal(ground.metric('acked_total'), 1)
})

test('a next life takes the receipts up where the last one left them', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start()
  for (const text of ['new', 'leased', 'acked']) await tell(text)
  await ground.pass(0)
  ground.weather.away = true
  await ground.inbox.ack([3])
  const [first] = await ground.inbox.take(1)
  assert.equal(first?.text, 'new')
  await ground.pass(2_000)
  ground.kill()
  ground.weather.away = false
  ground.start()
  await ground.pass(1_000)
  assert.deepEqual(await ground.deliveryOf(b), { new: 'leased', leased: 'delivered' })
  assert.deepEqual([await ground.inbox.list('new'), await ground.inbox.list('done')], [[2], []])
})

test('what a bridge brings although it was acked here does not come up again, and is acked once more', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start()
  await tell('read long ago')
  await ground.pass(0)
  // The ack is lost behind the answer, as when a database is put back to an older state.
  const { mark } = ground.store
  ground.store.mark = async (reader, ids, to) =>
    to === 'acked' ? undefined : await mark.call(ground.store, reader, ids, to)
  await ground.inbox.ack([1])
  await ground.pass(1_000)
  assert.deepEqual(await ground.inbox.list('done'), [], 'the bridge said it had it')
  assert.deepEqual(await ground.deliveryOf(b), { 'read long ago': 'delivered' })
  ground.store.mark = mark
  for (const restart of [() => ground.bridge.hangUp(), () => ground.kill()]) {
    restart()
    if (ground.host === undefined) ground.start()
    await ground.pass(5_000)
    assert.deepEqual(await ground.inbox.list('new'), [])
  }
  assert.deepEqual(await ground.deliveryOf(b), {}, 'now it knows')
})

test('a message that is under way once more while it is acked does not come up again', async () => {
  const ground = new Ground()
  const { a, b, tell } = await ground.channel()
  await tell('only one')
  const { mail } = ground.store
  let release: (() => void) | undefined
  // Repeats what it has said, later, as a stream that is resumed while the ack travels the other way.
  ground.store.mail = async function* (reader, after, signal) {
    yield (await ground.store.unacked(reader, after, 10)).map((each) => ({ ...each }))
    await new Promise<void>((resolve) => {
      release = resolve
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    if (!signal.aborted) {
      const rest = { text: 'only one', action: null, files: [], sentAt: sentAt ?? 0, delivery: 'queued' } as const
      yield [{ id: 1, from: a, to: b, ...rest }]
    }
    yield* mail.call(ground.store, reader, 1, signal)
  }
  ground.start()
  await ground.pass(0)
  const sentAt = (await ground.store.unacked(b, 0, 1))[0]?.sentAt
  await ground.inbox.ack([1])
  await ground.pass(1_000)
  assert.deepEqual(await ground.deliveryOf(b), {})
  release?.()
  await ground.pass(1_000)
  assert.deepEqual([await ground.inbox.list('new'), await ground.inbox.list('done')], [[], []])
})

test('what the stream leaves out is asked for, soon after a bridge is back and now and then in any case', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  const { mail } = ground.store
  // Odd ones are never pushed.
  ground.store.mail = async function* (reader, after, signal) {
    for await (const batch of mail.call(ground.store, reader, after, signal))
      yield batch.filter(({ id }) => id % 2 === 0)
  }
  ground.start()
  await ground.pass(60_000)
  for (let n = 0; n < 160; n += 1) await tell(`message ${n}`)
  await ground.pass(100)
  assert.equal((await ground.inbox.list('new')).length, 80)
  await ground.pass(5 * 66_000)
  assert.equal((await ground.inbox.list('new')).length, 160, 'all, though more than one page')
  assert.ok(ground.said('messages missing from the stream fetched') >= 3)
  assert.ok(Object.values(await ground.deliveryOf(b)).every((delivery) => delivery === 'delivered'))
  await ground.inbox.ack(await ground.inbox.list('new'))
  await ground.pass(CONFIG.pollMs)
  ground.weather.away = true
  await ground.pass(20_000)
  ground.weather.away = false
  await tell('while it came back')
  await ground.pass(CONFIG.beatMs + 6_000)
  assert.equal((await ground.inbox.list('new')).length, 1)
  const asked = (): number => ground.bridge.calls.filter(({ verb }) => verb === 'unacked').length
  const before = asked()
  await ground.pass(600_000)
  assert.ok(asked() - before <= 13, `and seldom otherwise: ${asked() - before}`)
})

test('what the stream is only slow to bring is not fetched beside it', async () => {
  const ground = new Ground()
  const { tell } = await ground.channel()
  const { mail } = ground.store
  let isSlow = false
  const { promise: quickAgain, resolve: hurry } = Promise.withResolvers<void>()
  ground.store.mail = async function* (reader, after, signal) {
    for await (const message of mail.call(ground.store, reader, after, signal)) {
      if (isSlow) await quickAgain
      yield message
    }
  }
  ground.start()
  await ground.pass(60_000 * 1.1 - 1_000)
  isSlow = true
  await tell('on its way')
  const asked = (): number => ground.bridge.calls.filter(({ verb }) => verb === 'unacked').length
  const before = asked()
  while (asked() === before) await ground.pass(500)
  ground.weather.away = true
  await ground.pass(CONFIG.beatMs + 1_000)
  ground.weather.away = false
  const whileAway = asked()
  while (asked() === whileAway) await ground.pass(100) // it is asked for again once the bridge is back, and the stream has begun anew
  hurry()
  await ground.pass(120_000)
  assert.equal((await ground.inbox.list('new')).length, 1)
  assert.equal(ground.said('messages missing from the stream fetched'), 0)
})

test('a message that somebody removes without acking it comes again, but not for ever', async () => {
  const ground = new Ground()
  const { tell } = await ground.channel()
  ground.start()
  await tell('thrown away')
  await tell('kept')
  await ground.pass(0)
  for (let time = 1; time <= 3; time += 1) {
    ground.inbox.folders.new.delete(1)
    await ground.pass(12_000 + 66_000)
    assert.deepEqual(await ground.inbox.list('new'), [1, 2], `time ${time}`)
  }
  ground.inbox.folders.new.delete(1)
  await ground.pass(200_000)
  assert.deepEqual(await ground.inbox.list('new'), [2])
  assert.equal(ground.said('message removed from the inbox without an ack'), 4)
  ground.kill()
  ground.start()
  await ground.pass(1_000)
  assert.deepEqual(await ground.inbox.list('new'), [1, 2], 'it was never acked, so it is not lost')
})

test('while the bridge is away everything waits in order, and flows on when it is back', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start({ pollMs: 5_000 })
  await tell('before')
  await ground.pass(5_000)
  ground.weather.away = true
  ground.bridge.hangUp()
  const wanted = Array.from({ length: 40 }, (_, n) => `word ${n}`)
  for (const text of wanted) await ground.outbox.put({ kind: 'send', from: b, draft: { text } })
  await ground.inbox.ack([1])
  await tell('meanwhile')
  ground.bridge.calls.length = 0
  await ground.pass(3_600_000)
  const tries = ground.bridge.calls.filter(({ verb }) => verb === 'send').length
  assert.ok(tries >= 60 && tries <= 1_500, `${tries} tries in an hour`)
  assert.equal(ground.said('trouble'), 1, 'told once')
  assert.match(Object.values(ground.troubles).join(), /^http:\/\/bridge\.test cannot be reached since /)
  assert.match(ground.statuses.at(-1) ?? '', /^1 session, away since .*, 1 delivered, 40 waiting in outbox$/)
  ground.weather.away = false
  await ground.pass(CONFIG.beatMs + 1_000)
  assert.deepEqual(await ground.heardFrom(b), wanted)
  assert.deepEqual(await ground.deliveryOf(b), { meanwhile: 'delivered' })
  assert.deepEqual(ground.troubles, {})
  assert.equal(ground.metric('reconnects_total'), 1)
  assert.equal(ground.metric('carried_total'), 40)
})

test('an answer that is lost makes nothing double', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.weather.mute = true
  for (const text of ['one', 'two']) await ground.outbox.put({ kind: 'send', from: b, draft: { text } })
  await tell('mail')
  ground.start()
  await ground.pass(30_000)
  ground.weather.mute = false
  await ground.pass(60_000)
  assert.deepEqual(await ground.heardFrom(b), ['one', 'two'])
  assert.deepEqual(await ground.outbox.names(), [])
  assert.deepEqual(await ground.inbox.list('new'), [1])
})

test('what the bridge refuses is set aside with the reason, and what follows goes on', async () => {
  const ground = new Ground()
  const { a, b } = await ground.channel()
  const task = { id: 'task-1', description: 'do', priority: 'P2', role: null, deadline: null, createdBy: a } as const
  await ground.store.addTask({ ...task, holder: b })
  const report = { task: 'task-1', state: 'completed', progress: null, result: null } as const
  await ground.store.leaseTask(b, 'agent-life')
  const stale = await ground.outbox.put({ kind: 'report', holder: b, report: { ...report, epoch: 99 } })
  await ground.outbox.put({ kind: 'send', from: b, key: 'k', draft: { text: 'after' } })
  const conflict = await ground.outbox.put({ kind: 'send', from: b, key: 'k', draft: { text: 'other words' } })
  const { epoch } = await ground.store.task('task-1')
  await ground.outbox.put({ kind: 'report', holder: b, report: { ...report, epoch } })
  ground.start()
  await ground.pass(1_000)
  assert.deepEqual([...ground.outbox.refused.keys()], [stale, conflict])
  assert.deepEqual(
    [...ground.outbox.refused.values()].map(({ code }) => code),
    ['stale_epoch', 'conflict'],
  )
  assert.deepEqual(await ground.outbox.names(), [])
  assert.ok((await ground.heardFrom(b)).includes('after'))
  assert.equal((await ground.store.task('task-1')).state, 'completed')
  assert.equal(ground.metric('refused_total'), 2)
  assert.equal(ground.said('outbox item refused by the bridge'), 2)
})

test('an item that makes the bridge stumble holds up its own session for a while, and no other', async () => {
  const ground = new Ground()
  const { b } = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  const poison = await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'poison' } })
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'behind it' } })
  await ground.outbox.put({ kind: 'send', from: other.b, draft: { text: 'beside it' } })
  const { send } = ground.store
  ground.store.send = async (from, key, draft) => {
    if (draft.text === 'poison') throw new S2Error('internal', 'the bridge met an error of its own')
    return await send.call(ground.store, from, key, draft)
  }
  ground.start()
  await ground.pass(500)
  assert.deepEqual(await ground.heardFrom(other.b), ['beside it'])
  assert.deepEqual(await ground.heardFrom(b), [])
  await ground.pass(120_000)
  assert.deepEqual(await ground.heardFrom(b), ['behind it'])
  assert.equal(ground.outbox.refused.get(poison)?.code, 'internal')
})

test('a bridge that asks for patience is asked again when it said', async () => {
  const ground = new Ground()
  const { b } = await ground.channel()
  ground.weather.fails.set('send', () => new S2Error('rate_limited', 'too many', { retryAfterS: 20 }))
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'x' } })
  ground.start()
  await ground.pass(100_000)
  const tries = ground.bridge.calls.filter(({ verb }) => verb === 'send')
  assert.ok(tries.length >= 3 && tries.length <= 6, `${tries.length}`)
  ground.weather.fails.clear()
  await ground.pass(30_000)
  assert.deepEqual(await ground.heardFrom(b), ['x'])
})

test('a full disk keeps mail waiting and nothing else, and is told once', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.inbox.isFull = true
  for (let n = 0; n < 600; n += 1) await tell(`message ${n}`)
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'out' } })
  ground.start()
  await ground.pass(60_000)
  assert.deepEqual(await ground.heardFrom(b), ['out'])
  assert.match(ground.troubles.inbox ?? '', /the disk is full/)
  assert.equal(ground.said('trouble'), 1)
  ground.inbox.isFull = false
  await ground.pass(31_000)
  assert.equal((await ground.inbox.list('new')).length, 600)
  assert.deepEqual(ground.troubles, {})
})

test('a disk that refuses to let go of what one session has acked keeps no ack of another', async () => {
  const ground = new Ground()
  const one = await ground.channel('s2-worker-1')
  const two = await ground.channel('s2-worker-2')
  ground.start()
  await ground.pass(0)
  const mine = await one.tell('mine')
  await two.tell('yours')
  await ground.pass(CONFIG.pollMs)
  ground.inbox.forgets = false
  await ground.inbox.ack([mine.id])
  await ground.pass(30_000)
  const [yours] = [...ground.inbox.folders.new.keys()]
  await ground.inbox.ack([yours ?? 0])
  await ground.pass(60_000)
  assert.deepEqual(await ground.deliveryOf(two.b), {}, 'its ack is not told')
  ground.inbox.forgets = true
  await ground.pass(60_000)
  assert.equal(ground.inbox.folders.done.size, 0)
  assert.deepEqual(ground.troubles, {})
})

test('the end that the bridge puts off counts for this start and the next, and not for ever', async () => {
  const ground = new Ground()
  const { opened, b, credential } = await ground.channel()
  const slow = { pollMs: 60_000, beatMs: 60_000 }
  ground.start(slow)
  for (let hours = 0; hours < 10; hours += 1) {
    await ground.store.renewConversation(opened, LIFETIME_MS)
    await ground.pass(3_600_000)
  }
  const [conversation] = await ground.store.conversations()
  assert.equal(ground.credentials.renewals.get(b), conversation?.expiresAt)
  assert.equal(ground.said('trouble'), 0)
  // The file still names the first end; the next start must not take the conversation for ended.
  assert.ok(credential.expiresAt < ground.clock.wall())
  ground.kill()
  ground.start(slow)
  await ground.pass(1_000)
  assert.equal((await ground.pulse(b))?.incarnation, 'life-2')
  assert.equal(ground.metric('sessions'), 1)
  await ground.pass(4 * 3_600_000)
  assert.equal(ground.metric('sessions'), 0)
})

test('when it is stopped it carries what is in hand, and tells what it leaves', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start()
  await tell('read')
  await ground.pass(0)
  await ground.inbox.ack([1])
  for (let n = 0; n < 50; n += 1) await ground.outbox.put({ kind: 'send', from: b, draft: { text: `${n}` } })
  await ground.stop()
  assert.equal((await ground.heardFrom(b)).length, 50)
  assert.deepEqual(await ground.deliveryOf(b), {})
  assert.equal(ground.said('stopped with nothing unsent'), 1)

  ground.start()
  await ground.pass(0)
  ground.weather.hangs.add('send')
  await ground.outbox.put({ kind: 'send', from: b, draft: { text: 'late' } })
  const began = ground.clock.now()
  // What hangs here never comes back: only the wait for it is bounded.
  const { host } = ground
  const drained = host?.drain()
  await ground.pass(CONFIG.drainMs)
  await drained
  assert.ok(ground.clock.now() - began <= CONFIG.drainMs)
  const left = ground.log.records.find(({ event }) => event === 'stopped with unsent items')
  assert.deepEqual(left?.fields, { outbox: 1, acks: 0 })
  ground.kill()
  ground.weather.hangs.clear()
  ground.start()
  await ground.pass(1_000)
  assert.equal((await ground.heardFrom(b)).at(-1), 'late')
})

test('with no credentials it says what to do, and with some what it does', async () => {
  const ground = new Ground()
  ground.start()
  await ground.pass(3_000)
  assert.match(ground.troubles.credentials ?? '', /there are no credentials yet: a worker’s comes by cred-sync/)
  assert.equal(ground.health.ready, false)
  assert.equal(ground.statuses.at(-1), '0 sessions, no bridge, 0 delivered, 0 waiting in outbox')
  const { tell } = await ground.channel()
  await ground.channel('s2-worker-2')
  await tell('hello')
  await ground.pass(3_000)
  assert.equal(ground.health.ready, true)
  assert.equal(ground.statuses.at(-1), '2 sessions, linked, 1 delivered, 0 waiting in outbox')
})

test('two bridges are two lines: one away does not keep the other', async () => {
  const ground = new Ground()
  const near = await ground.channel()
  const far = await ground.channel('s2-worker-1', { url: 'http://other.test' })
  const other = ground.bridges.get('http://other.test')
  ground.start()
  // Both bridges count from one.
  await near.tell('from one')
  await far.tell('from the other')
  await ground.pass(0)
  assert.deepEqual([...ground.inbox.folders.new.values()].map(({ text }) => text).sort(), [
    'from one',
    'from the other',
  ])
  const ids = await ground.inbox.list('new')
  await ground.inbox.ack(ids)
  await ground.pass(1_000)
  assert.deepEqual(await ground.store.unacked(near.b, 0, 9), [])
  assert.deepEqual(await other?.store.unacked(far.b, 0, 9), [])
  if (other !== undefined) other.weather.away = true
  await ground.outbox.put({ kind: 'send', from: far.b, draft: { text: 'waits' } })
  await ground.outbox.put({ kind: 'send', from: near.b, draft: { text: 'goes' } })
  await ground.pass(20_000)
  assert.deepEqual(await ground.heardFrom(near.b), ['goes'])
  assert.deepEqual(Object.keys(ground.troubles), ['bridge http://other.test'])
  assert.match(ground.statuses.at(-1) ?? '', /^2 sessions, linked and away since /)
})

test('a disk that stalls once does not keep it from looking afterwards', async () => {
  const ground = new Ground()
  const { b, tell } = await ground.channel()
  ground.start()
  await tell('hello')
  await ground.pass(10_000)
  const list = ground.inbox.list.bind(ground.inbox)
  let stalls = true
  ground.inbox.list = async (folder) => {
    if (stalls) {
      stalls = false
      await ground.clock.sleep(2_000)
    }
    return await list(folder)
  }
  await ground.pass(3_000)
  assert.equal(stalls, false)
  await ground.inbox.ack([1])
  await ground.pass(1_000)
  assert.deepEqual(await ground.deliveryOf(b), {})
})

test('looks that are long each time leave it time for other things', async () => {
  const ground = new Ground()
  await ground.channel()
  const list = ground.inbox.list.bind(ground.inbox)
  let looks = 0
  ground.inbox.list = async (folder) => {
    if (folder === 'cur') {
      looks += 1
      await ground.clock.sleep(1_000)
    }
    return await list(folder)
  }
  ground.start()
  await ground.pass(100_000)
  assert.ok(looks >= 18 && looks <= 25, String(looks))
})
