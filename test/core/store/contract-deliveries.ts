/** The promise of `Store` about what becomes of messages after they were sent, part of the suite for every backend. */
import assert from 'node:assert/strict'
import { S2Error } from '#fleet/errors.ts'
import type { Message } from '#fleet/message.ts'
import { LEASES_MAX } from '#fleet/message-leases.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Store } from '#store/store.ts'
import type { MovableClock } from '../../movable-clock.ts'

interface End {
  readonly session: SessionId
  readonly store: Store
}

export interface DeliveriesFleet {
  readonly store: Store
  readonly clock: MovableClock
  readonly signal: AbortSignal
  channel(worker?: string, role?: string): Promise<{ readonly id: string; readonly a: End; readonly b: End }>
  key(): string
}

export type ProveDeliveries = (
  title: string,
  body: (fleet: DeliveriesFleet) => Promise<void>,
  ...needs: (keyof Store)[]
) => void

const LEASE_MS = 60_000

async function refused(code: string, asked: Promise<unknown>): Promise<void> {
  await assert.rejects(asked, (error) => error instanceof S2Error && error.code === code && error.next !== undefined)
}

/** What is handed out: each message's id with how often. */
async function taken({ session, store }: End, by = 'one', limit = 100): Promise<string[]> {
  const leased = await store.leaseMessages(session, by, limit, LEASE_MS)
  return leased.map(({ id, times, delivery }) => {
    assert.equal(delivery, 'leased')
    return `${id}:${times}`
  })
}

/** Has a message handed out so often that the next time it is dead. */
async function wearOut(fleet: DeliveriesFleet, reader: End, { id }: Message): Promise<void> {
  for (let times = 1; times <= LEASES_MAX; times += 1) {
    assert.ok((await taken(reader, `taker ${times}`)).includes(`${id}:${times}`))
    fleet.clock.pass(LEASE_MS)
  }
}

export function proveDeliveries(prove: ProveDeliveries): void {
  prove('a message is handed to one taker at a time, and comes again when its lease has run out', async (fleet) => {
    const { a, b } = await fleet.channel()
    const one = await a.store.send(a.session, fleet.key(), { text: 'one' })
    assert.deepEqual(await taken(b), [`${one.id}:1`])
    assert.deepEqual(await taken(b, 'two'), [], 'it is in the hand of one')
    const two = await a.store.send(a.session, fleet.key(), { text: 'two' })
    assert.deepEqual(await taken(b, 'two'), [`${two.id}:1`])
    fleet.clock.pass(LEASE_MS - 10_000)
    assert.deepEqual(await taken(b), [])
    fleet.clock.pass(10_000)
    assert.deepEqual(await taken(b, 'three', 1), [`${one.id}:2`], 'the oldest first, and no more than wanted')
    await b.store.mark(b.session, [one.id, two.id], 'acked')
    fleet.clock.pass(LEASE_MS)
    assert.deepEqual(await taken(b), [])
    assert.deepEqual((await b.store.unacked(b.session, 0, 10)).length, 0)
  })

  prove('a clock that is put back holds no message for ever', async (fleet) => {
    const { a, b } = await fleet.channel()
    const one = await a.store.send(a.session, fleet.key(), { text: 'one' })
    await taken(b)
    fleet.clock.pass(-2 * LEASE_MS)
    assert.deepEqual(await taken(b, 'two'), [`${one.id}:2`])
  })

  prove('what a host has handed to its agent is its own to hand out again', async (fleet) => {
    const { a, b } = await fleet.channel()
    const one = await a.store.send(a.session, fleet.key(), { text: 'one' })
    await b.store.mark(b.session, [one.id], 'leased')
    const at = fleet.clock.wall()
    await b.store.noteLeases(b.session, [{ id: one.id, by: 'claude-7', at, times: 2 }])
    await b.store.noteLeases(b.session, [{ id: one.id, by: 'an older note', at, times: 1 }])
    fleet.clock.pass(10 * LEASE_MS)
    assert.deepEqual(await taken(b), [])
    const { leases, leasedBy, leasedAt } = await a.store.messageStatus(one.id)
    assert.deepEqual([leases, leasedBy, leasedAt], [2, 'claude-7', at])
  })

  prove('its sender sees how far a message has come, when, and with whom', async (fleet) => {
    const { a, b } = await fleet.channel()
    const sent = await a.store.send(a.session, fleet.key(), { text: 'one' })
    const { id } = sent
    const nothing = { deliveredAt: null, leasedAt: null, leasedBy: null, leases: 0, ackedAt: null, dead: null }
    const queued = { id, from: a.session, to: b.session, author: a.session, sender: null, queuedAt: sent.sentAt }
    assert.deepEqual(await a.store.messageStatus(id), { ...queued, delivery: 'queued', ...nothing })
    fleet.clock.pass(1_000)
    const near = (time: number | null): boolean => Math.abs((time ?? 0) - fleet.clock.wall()) < 900
    await b.store.mark(b.session, [id], 'delivered')
    const delivered = await a.store.messageStatus(id)
    assert.ok(delivered.delivery === 'delivered' && near(delivered.deliveredAt))
    fleet.clock.pass(1_000)
    await taken(b, 'codex-1')
    const leased = await a.store.messageStatus(id)
    assert.ok(leased.delivery === 'leased' && near(leased.leasedAt) && leased.deliveredAt === delivered.deliveredAt)
    assert.deepEqual([leased.leasedBy, leased.leases], ['codex-1', 1])
    fleet.clock.pass(1_000)
    await b.store.mark(b.session, [id], 'acked')
    const acked = await b.store.messageStatus(id)
    assert.ok(acked.delivery === 'acked' && near(acked.ackedAt), 'its reader may ask too')
    assert.deepEqual([acked.leasedAt, acked.leases], [leased.leasedAt, 1])
    await refused('not_found', a.store.messageStatus(id + 1_000))
  })

  prove('nobody else learns of a message', async (fleet) => {
    const [one, two] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const [posted] = await one.b.store.post(one.b.session, { agent: 'w-2' }, fleet.key(), { text: 'hello' })
    const id = posted?.id as number
    for (const { store } of [one.b, two.b]) {
      const { author, sender, to } = await store.messageStatus(id)
      assert.deepEqual([author, sender, to], [one.b.session, 'w-1', two.b.session])
    }
    const other = await fleet.channel('w-3')
    if (other.b.store !== fleet.store) {
      await refused('not_found', other.b.store.messageStatus(id))
      await refused('not_found', two.a.store.messageStatus(id))
    }
  })

  prove(
    'what was handed out five times and never acked is a dead letter, and all who care are told once',
    async (fleet) => {
      const { a, b } = await fleet.channel('w-1')
      const one = await a.store.send(a.session, fleet.key(), { text: 'poison' })
      await wearOut(fleet, b, one)
      assert.deepEqual(await taken(b, 'six'), [])
      assert.deepEqual(await b.store.unacked(b.session, 0, 10), [])
      const { dead, delivery, leases } = await a.store.messageStatus(one.id)
      assert.match(dead?.why ?? '', /^it was handed out 5 times, last to taker 5, and never acked$/)
      assert.deepEqual([dead?.settledAs, delivery, leases], [null, 'leased', LEASES_MAX])
      const told = await a.store.unacked(a.session, 0, 10)
      assert.equal(told.length, 1)
      assert.match(told[0]?.text ?? '', new RegExp(`^S2: your message ${one.id} to w-1 is a dead letter: `))
      assert.deepEqual(
        (await a.store.deadLetters()).map(({ id }) => id),
        [one.id],
      )
      const open = await fleet.store.incidents({ open: true })
      assert.deepEqual(
        open.map(({ kind, cause, agent }) => [kind, cause, agent]),
        [['dead_letters', `dead_letters:${b.session}`, 'w-1']],
      )
      const entries = (await fleet.store.audit(0, 1_000)).filter(({ action }) => action === 'dead_letter')
      assert.deepEqual(
        entries.map(({ actor, details }) => [actor, details.messages]),
        [[b.session, [one.id]]],
      )
    },
  )

  prove('a host gives up what its agent could not take; a notice that dies is told to nobody', async (fleet) => {
    const [one, two] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const posted = await one.b.store.post(one.b.session, { agent: 'w-2' }, fleet.key(), { text: 'hello' })
    const [id] = posted.map((message) => message.id) as [number]
    await two.b.store.giveUpMessages(two.b.session, [id], 'handed out 5 times\nby a hostile\u001b[2J host')
    await two.b.store.giveUpMessages(two.b.session, [id], 'again')
    const { dead } = await one.b.store.messageStatus(id)
    assert.equal(dead?.why, 'handed out 5 times by a hostile [2J host')
    const notices = await one.b.store.unacked(one.b.session, 0, 10)
    assert.deepEqual(
      notices.map(({ to, action }) => [to, action]),
      [[one.b.session, 'dead_letter']],
    )
    assert.deepEqual(await two.a.store.unacked(two.a.session, 0, 10), [], 'its writer is told, and nobody in its name')
    await one.b.store.giveUpMessages(one.b.session, [notices[0]?.id as number], 'nobody is there')
    assert.deepEqual(await one.a.store.unacked(one.a.session, 0, 10), [])
    assert.deepEqual(await two.b.store.unacked(two.b.session, 0, 10), [])
    await two.b.store.mark(two.b.session, [id], 'acked')
    assert.notEqual((await one.b.store.messageStatus(id)).delivery, 'acked', 'what is dead is acked no more')
  })

  prove('a dead letter is sent again as a new message, once, and the incident ends', async (fleet) => {
    const [one, two] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
    const posted = await one.b.store.post(one.b.session, { agent: 'w-2' }, fleet.key(), { text: 'hello', files: ['f'] })
    const [id] = posted.map((message) => message.id) as [number]
    await refused('conflict', fleet.store.retryMessages([id]))
    await two.b.store.giveUpMessages(two.b.session, [id], 'nobody is there')
    const [again] = await two.a.store.retryMessages([id])
    assert.ok(again !== undefined && again.id > id)
    const { to, sender, text, files } = again
    assert.deepEqual([to, sender, text, files], [two.b.session, 'w-1', 'hello', ['f']])
    assert.deepEqual(
      (await two.a.store.retryMessages([id])).map((message) => message.id),
      [again.id],
    )
    assert.deepEqual(
      (await two.b.store.unacked(two.b.session, 0, 10)).map((message) => message.id),
      [again.id],
    )
    assert.equal((await one.b.store.messageStatus(id)).dead?.settledAs, again.id)
    assert.equal((await one.b.store.messageStatus(again.id)).author, one.b.session)
    assert.deepEqual(await fleet.store.deadLetters(), [])
    assert.deepEqual(await fleet.store.incidents({ open: true }), [])
  })

  prove('a dead letter may be dropped, by its orchestrator alone', async (fleet) => {
    const { a, b } = await fleet.channel('w-1')
    const other = await fleet.channel('w-2')
    const sent = await a.store.send(a.session, fleet.key(), { text: 'one' })
    await refused('conflict', fleet.store.dropMessages([sent.id]))
    await b.store.giveUpMessages(b.session, [sent.id], 'nobody is there')
    if (b.store !== fleet.store) {
      await refused('forbidden', b.store.dropMessages([sent.id]))
      await refused('forbidden', other.b.store.retryMessages([sent.id]))
      assert.deepEqual(await other.b.store.deadLetters(), [])
      assert.equal((await b.store.deadLetters()).length, 1)
    }
    await a.store.dropMessages([sent.id])
    await a.store.dropMessages([sent.id])
    await refused('conflict', a.store.retryMessages([sent.id]))
    assert.equal((await a.store.messageStatus(sent.id)).dead?.settledAs, 0)
    assert.deepEqual(await fleet.store.incidents({ open: true }), [])
    const acts = (await fleet.store.audit(0, 1_000)).filter(({ action }) => action === 'dead_letters_dropped')
    assert.deepEqual(
      acts.map(({ details }) => details.messages),
      [[sent.id]],
    )
  })

  prove('a task message that is sent again gives no second task', async (fleet) => {
    const { a, b } = await fleet.channel('w-1')
    const text = JSON.stringify({ type: 'task_assignment', task_id: 'T-1', description: 'build it' })
    const { id } = await a.store.send(a.session, fleet.key(), { text })
    assert.equal((await fleet.store.tasks({})).length, 1)
    await b.store.giveUpMessages(b.session, [id], 'nobody is there')
    await fleet.store.retryMessages([id])
    await fleet.store.tend()
    assert.equal((await fleet.store.tasks({})).length, 1)
  })
}
