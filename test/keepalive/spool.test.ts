/** The spool in memory does as the one on disk: what is proven over it holds for the other. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { StoredMessage } from '#fleet/message.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox, type OutboxProblem } from '#spool/outbox.ts'
import { Dice } from '../simulation/chance.ts'
import { MemoryInbox, MemoryOutbox } from './spool.ts'

const SESSIONS = ['conv_0000000000000001/b', 'conv_0000000000000002/b'] as const

function message(id: number, chance: () => number): StoredMessage {
  const to = SESSIONS[Math.floor(chance() * SESSIONS.length)] ?? SESSIONS[0]
  const from = to.replace('/b', '/a') as `${string}/a`
  const text = chance() < 0.9 ? `text ${id}` : `other text ${id}`
  return { id, from, to, text, action: null, files: [], sentAt: id, delivery: 'queued' }
}

test('any story of an inbox goes the same way in both', async (context) => {
  for (let seed = 1; seed <= 4; seed += 1) {
    const state = await mkdtemp(join(tmpdir(), 's2-inbox-'))
    context.after(() => rm(state, { recursive: true, force: true }))
    const chance = new Dice(`${seed}`).next
    const pick = (limit: number): number => 1 + Math.floor(chance() * limit)
    const real = new Inbox(state)
    const double = new MemoryInbox()
    for (let step = 0; step < 120; step += 1) {
      const what = chance()
      if (what < 0.45) {
        const group = Array.from({ length: pick(3) }, () => message(pick(40), chance))
        assert.deepEqual(await double.putAll(group), await real.putAll(group), `seed ${seed}, step ${step}`)
      } else if (what < 0.65) {
        const limit = pick(4)
        assert.deepEqual(await double.take(limit), await real.take(limit))
      } else {
        const ids = [...(await real.list('new')), ...(await real.list('cur'))].filter(() => chance() < 0.3)
        if (what < 0.85) assert.deepEqual(await double.ack(ids), await real.ack(ids))
        else {
          const done = (await real.list('done')).filter(() => chance() < 0.7)
          await Promise.all([double.forget(done), real.forget(done)])
        }
      }
      for (const folder of ['new', 'cur', 'done'] as const) {
        assert.deepEqual(await double.list(folder), await real.list(folder), `${folder}, seed ${seed}, step ${step}`)
      }
      const some = (await real.list('cur'))[0] ?? 1
      assert.deepEqual(await double.inspect(some), await real.inspect(some))
    }
  }
})

test('an outbox goes the same way in both', async (context) => {
  const state = await mkdtemp(join(tmpdir(), 's2-outbox-'))
  context.after(() => rm(state, { recursive: true, force: true }))
  const problem: OutboxProblem = { code: 'conflict', message: 'no', next: null, id: null }
  const told = []
  for (const outbox of [new Outbox(state), new MemoryOutbox()]) {
    const draft = { action: null, files: [] }
    for (const text of ['a', 'b', 'c']) {
      await outbox.put({ kind: 'send', from: SESSIONS[0], key: text, draft: { ...draft, text } })
    }
    const [first = '', second = '', third = ''] = await outbox.names()
    await outbox.done(first)
    await outbox.refuse(second, problem)
    await outbox.done('0000000000000009-0123456789abcdef')
    told.push([
      (await outbox.names()).length,
      await outbox.read(first),
      await outbox.read(second),
      await outbox.read(third),
    ])
  }
  assert.deepEqual(told[1], told[0])
})
