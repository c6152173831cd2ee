import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Message } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { systemClock } from '#runtime/clock.ts'
import { type Call, Rouser } from '../../services/fs-watcher/rouser.ts'

const A: SessionId = 'conv_00000000000000aa/a'
const OTHER: SessionId = 'conv_00000000000000bb/a'
const message = (id: number, to: SessionId = A): Message => ({
  id,
  from: 'conv_00000000000000aa/b',
  to,
  text: `text ${id}`,
  action: null,
  files: [],
  sentAt: 0,
})

/** A rouser whose wakes end when the test says so. */
function scene(over: { failing?: boolean; keep?: () => Promise<void> } = {}) {
  const abort = new AbortController()
  const calls: { call: Call; end: () => void }[] = []
  const kept: number[] = []
  const order: string[] = []
  const changes = new Set<() => void>()
  const changed = (): void => {
    for (const each of changes) each()
  }
  let atOnce = 0
  let most = 0
  const rouser = new Rouser({
    clock: { ...systemClock, sleep: async () => undefined },
    chance: () => 0.5,
    log: { info: () => undefined, warn: () => undefined, debug: () => undefined },
    signal: abort.signal,
    keep: async (ids) => {
      await over.keep?.()
      kept.push(...ids)
      order.push(`keep ${ids}`)
    },
    wake: async (call) => {
      order.push(`wake ${call.messages.map(({ id }) => id)}`)
      atOnce += 1
      most = Math.max(most, atOnce)
      await new Promise<void>((resolve) => {
        calls.push({ call, end: resolve })
        changed()
      })
      atOnce -= 1
      if (over.failing === true) throw new Error('no')
    },
    onWake: changed,
  })
  const called = async (count: number): Promise<void> => {
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (calls.length >= count) resolve()
      }
      changes.add(check)
      check()
    })
  }
  return { rouser, calls, kept, order, called, abort, most: () => most }
}

const ids = (call: Call | undefined): number[] => call?.messages.map(({ id }) => id) ?? []

test('what comes while a wake runs goes together into the next one, in order', async () => {
  const { rouser, calls, called, order } = scene()
  rouser.hear(message(1))
  await called(1)
  for (const id of [3, 2, 4, 3]) rouser.hear(message(id))
  calls[0]?.end()
  await called(2)
  assert.deepEqual(
    calls.map(({ call }) => ids(call)),
    [[1], [2, 3, 4]],
  )
  calls[1]?.end()
  await rouser.idle()
  assert.deepEqual(order, ['keep 1', 'wake 1', 'keep 2,3,4', 'wake 2,3,4'])
})

test('sessions are woken beside each other, each never twice at a time', async () => {
  const { rouser, calls, called, most } = scene()
  rouser.hear(message(1))
  rouser.hear(message(2, OTHER))
  await called(2)
  assert.equal(most(), 2)
  rouser.hear(message(3))
  rouser.hear(message(4))
  for (const { end } of calls) end()
  await called(3)
  assert.deepEqual(ids(calls[2]?.call), [3, 4])
  calls[2]?.end()
  await rouser.idle()
})

test('a failing wake is not repeated for its messages', async () => {
  const { rouser, calls, called } = scene({ failing: true })
  rouser.hear(message(1))
  await called(1)
  calls[0]?.end()
  await rouser.idle()
  rouser.hear(message(2))
  await called(2)
  calls[1]?.end()
  await rouser.idle()
  assert.deepEqual(
    calls.map(({ call }) => ids(call)),
    [[1], [2]],
  )
})

test('nobody is woken before it is kept; what cannot be kept waits', async () => {
  let full = 2
  const { rouser, calls, called, kept } = scene({
    keep: async () => {
      full -= 1
      if (full >= 0) throw new Error('disk full')
    },
  })
  rouser.hear(message(1))
  await called(1)
  assert.deepEqual(kept, [1])
  calls[0]?.end()
  await rouser.idle()
  assert.equal(rouser.backlog, 0)
})

test('after the stop nothing more is begun', async () => {
  const { rouser, calls, called, abort } = scene()
  rouser.hear(message(1))
  await called(1)
  rouser.hear(message(2))
  abort.abort()
  calls[0]?.end()
  await rouser.idle()
  assert.equal(calls.length, 1)
  assert.equal(rouser.backlog, 1)
})
