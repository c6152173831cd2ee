import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { SessionId } from '#fleet/session-id.ts'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { textlessPreview, type UnreadMail, type WakeTarget } from '../../services/fs-watcher/mail-source.ts'
import { NotStartedError, type WakeCall, Waker, type WakerParts } from '../../services/fs-watcher/waker.ts'
import { WokenMessages } from '../../services/fs-watcher/woken-messages.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-waker-'))
after(() => rmSync(folder, { recursive: true }))

const mail = (id: number, to: SessionId = 'conv_a/a', fingerprint = `print ${id}`): UnreadMail => ({
  id,
  from: 'conv_a/b',
  to,
  sentAt: 0,
  fingerprint,
})

/** A waker over mail that the test lays out, whose wakes end when the test says so. */
async function scene(name: string, untilDue?: WakerParts['untilDue']) {
  const abort = new AbortController()
  const box = new Map<WakeTarget, UnreadMail[]>()
  const calls: { call: WakeCall; end: (error?: Error) => void }[] = []
  const order: string[] = []
  const slept: number[] = []
  const lookedUp: WakeTarget[] = []
  const log = recordingLog()
  const woken = await WokenMessages.open(join(folder, name), assert.fail)
  const refusals: Error[] = []
  const atOnce = new Map<WakeTarget, number>()
  let changed = Promise.withResolvers<void>()
  const waker = new Waker({
    clock: { ...systemClock, sleep: async (ms) => void slept.push(ms) },
    chance: () => 0.5,
    log,
    signal: abort.signal,
    source: {
      unread: async (target) => {
        lookedUp.push(target)
        return [...(box.get(target) ?? [])]
      },
      previews: async (some) => some.map(textlessPreview),
      covers: (target, session) => (box.get(target) ?? []).some(({ to }) => to === session) || session === 'conv_a/a',
    },
    woken: {
      has: (each) => woken.has(each),
      keep: async (each, covers) => {
        const refusal = refusals.shift()
        if (refusal !== undefined) throw refusal
        await woken.keep(each, covers)
        order.push(`keep ${each.map(({ id }) => id)}`)
      },
      release: (each) => woken.release(each),
    },
    wake: async (call) => {
      atOnce.set(call.target, (atOnce.get(call.target) ?? 0) + 1)
      assert.equal(atOnce.get(call.target), 1, 'never twice at a time')
      order.push(`wake ${[...call.fresh].map(({ id }) => id)}`)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      calls.push({ call, end: (error) => (error === undefined ? resolve() : reject(error)) })
      changed.resolve()
      changed = Promise.withResolvers()
      await promise.finally(() => atOnce.set(call.target, 0))
    },
    onWake: () => undefined,
    ...(untilDue === undefined ? {} : { untilDue }),
  })
  /** Waits for the call of that number and answers it. */
  const called = async (count: number) => {
    while (calls.length < count) await changed.promise
    return calls[count - 1] as (typeof calls)[number]
  }
  return { waker, box, calls, called, order, slept, lookedUp, log, woken, abort, refusals }
}

const fresh = ({ call }: { call: WakeCall }): number[] => [...call.fresh].map(({ id }) => id)

test('what comes while a wake runs goes together into the next one, noted before it is run', async () => {
  const { waker, box, called, calls, order } = await scene('together')
  box.set('o', [mail(1)])
  waker.hint('o')
  const first = await called(1)
  box.set('o', [mail(1), mail(2), mail(3)])
  for (let hints = 0; hints < 5; hints += 1) waker.hint('o')
  first.end()
  const second = await called(2)
  assert.deepEqual(fresh(second), [2, 3])
  assert.deepEqual(
    second.call.mail.map(({ id }) => id),
    [1, 2, 3],
    'it is told of all that is unread',
  )
  second.end()
  waker.hint('o')
  await waker.idle()
  assert.equal(calls.length, 2)
  assert.deepEqual(order, ['keep 1', 'wake 1', 'keep 1,2,3', 'wake 2,3'])
})

test('what was read while a wake ran wakes nobody', async () => {
  const { waker, box, called, calls } = await scene('read')
  box.set('o', [mail(1)])
  waker.hint('o')
  const { end } = await called(1)
  box.set('o', [mail(1), mail(2)])
  waker.hint('o')
  box.set('o', [])
  end()
  await waker.idle()
  assert.equal(calls.length, 1)
})

test('a target that may be woken at once has its mail looked up once', async () => {
  const { waker, box, called, lookedUp, order } = await scene('at-once', async () => 'at once')
  box.set('o', [mail(1)])
  waker.hint('o')
  const call = await called(1)
  assert.deepEqual([fresh(call), lookedUp], [[1], ['o']])
  call.end()
  await waker.idle()
  assert.deepEqual(order, ['wake 1', 'keep 1'], 'it is noted once its read is proven')
})

test('mail that is taken or comes while a client is waited for counts as it is after that', async () => {
  const due = Promise.withResolvers<void>()
  const { waker, box, called, calls } = await scene('waited', async () => {
    await due.promise
    return 'waited'
  })
  box.set('o', [mail(1), mail(2)])
  waker.hint('o')
  box.set('p', [mail(4, 'conv_b/b')])
  waker.hint('p')
  await turn()
  box.set('o', [mail(2), mail(3)])
  box.set('p', [])
  due.resolve()
  const call = await called(1)
  assert.deepEqual(fresh(call), [2, 3])
  call.end()
  await waker.idle()
  assert.equal(calls.length, 1, 'nobody is woken for what was taken')
})

test('a target without new mail is not waited for', async () => {
  const { waker, box, woken, calls } = await scene('nothing', () => assert.fail('waited for'))
  box.set('o', [mail(1)])
  await woken.keep([mail(1)], () => true)
  waker.hint('o')
  await waker.idle()
  assert.equal(calls.length, 0)
})

test('targets are woken beside each other', async () => {
  const { waker, box, called } = await scene('beside')
  box.set('one', [mail(1)])
  box.set('two', [mail(2, 'conv_b/b')])
  waker.hint('one')
  waker.hint('two')
  await called(2)
  for (const count of [1, 2]) (await called(count)).end()
  await waker.idle()
})

test('a failing wake is not repeated for its messages, told once, and the next one waits longer each time', async () => {
  const { waker, box, called, slept, log } = await scene('failing')
  for (const id of [1, 2, 3]) {
    box.set('o', [...(box.get('o') ?? []), mail(id)])
    waker.hint('o')
    const call = await called(id)
    assert.deepEqual(fresh(call), [id])
    call.end(new Error('no'))
    await waker.idle()
  }
  assert.deepEqual(slept, [1000, 1500, 2500])
  assert.deepEqual(
    log.records.map(({ level }) => level),
    ['warn', 'debug', 'debug'],
  )
})

test('a wake that could not begin is tried again for the same messages', async () => {
  const { waker, box, called, log, woken } = await scene('not-begun')
  box.set('o', [mail(1)])
  waker.hint('o')
  for (const count of [1, 2, 3]) (await called(count)).end(new NotStartedError('no such program'))
  const call = await called(4)
  assert.deepEqual(fresh(call), [1])
  assert.ok(woken.has(mail(1)))
  call.end()
  await waker.idle()
  assert.deepEqual(
    log.records.map(({ level }) => level),
    ['error', 'debug', 'debug', 'info'],
  )
})

test('nobody is woken before it is noted; what cannot be noted waits', async () => {
  const { waker, box, called, calls, order, refusals } = await scene('full')
  refusals.push(new Error('disk full'), new Error('disk full'))
  box.set('o', [mail(1)])
  waker.hint('o')
  const { end } = await called(1)
  end()
  await waker.idle()
  assert.equal(calls.length, 1)
  assert.deepEqual(order, ['keep 1', 'wake 1'])
})

test('after the stop nothing more is begun', async () => {
  const { waker, box, called, calls, abort } = await scene('stop')
  box.set('o', [mail(1)])
  waker.hint('o')
  const { end } = await called(1)
  box.set('o', [mail(1), mail(2)])
  waker.hint('o')
  abort.abort()
  end()
  await waker.idle()
  waker.hint('o')
  await turn()
  assert.equal(calls.length, 1)
})

test('the memory outlives a restart, and holds only what is unread', async () => {
  const path = join(folder, 'memory')
  const first = await WokenMessages.open(path, assert.fail)
  await first.keep([mail(1), mail(2), mail(9, 'conv_b/a')], () => true)
  await first.keep([mail(2), mail(3)], (session) => session === 'conv_a/a')
  first.position = 9
  await first.save()
  const second = await WokenMessages.open(path, assert.fail)
  assert.equal(second.position, 9)
  assert.deepEqual(
    [mail(1), mail(2), mail(3), mail(9, 'conv_b/a'), mail(2, 'conv_a/a', 'another text')].map((each) =>
      second.has(each),
    ),
    [false, true, true, true, false],
  )
})

test('of very much that stays unread only the newest is remembered by name, and none is woken for twice', async () => {
  const woken = await WokenMessages.open(join(folder, 'much'), assert.fail)
  const much = Array.from({ length: 5_000 }, (_, index) => mail(index + 1))
  await woken.keep(much, () => true)
  assert.ok(much.every((each) => woken.has(each)))
  assert.equal(woken.floorOf('conv_a/a'), 3_000)
  assert.ok(!woken.has(mail(5_001)))
})

test('a note that cannot be written is no note', async () => {
  const woken = await WokenMessages.open(join(folder, 'gone', 'gone'), assert.fail)
  await woken.keep([mail(1)], () => true)
  rmSync(join(folder, 'gone'), { recursive: true })
  writeFileSync(join(folder, 'gone'), 'a file in the way')
  await assert.rejects(woken.keep([mail(1), mail(2)], () => true))
  assert.deepEqual([woken.has(mail(1)), woken.has(mail(2))], [true, false])
})

test('a memory that makes no sense is told, and counts as none', async () => {
  for (const text of [
    '',
    '{',
    '[]',
    'null',
    '{"position":"x"}',
    '{"position":1,"sessions":{"conv_a/a":{"floor":null}}}',
  ]) {
    const path = join(folder, 'nonsense')
    writeFileSync(path, text)
    const told: string[] = []
    const woken = await WokenMessages.open(path, (why) => told.push(why))
    assert.equal(told.length, 1, text)
    assert.ok(!woken.has(mail(1)))
    await woken.keep([mail(1)], () => true)
    assert.ok((await WokenMessages.open(path, assert.fail)).has(mail(1)))
  }
})
