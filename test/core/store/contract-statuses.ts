/** The promise of `Store` about what agents say that they do, part of the suite for every backend. */
import assert from 'node:assert/strict'
import { SAID_STATUSES } from '#fleet/said-status.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { DeliveriesFleet, ProveDeliveries } from './contract-deliveries.ts'

const UNKNOWN = sessionId('conv_ffffffffffffffff', 'b')

async function pulseOf({ store }: DeliveriesFleet, session: SessionId): Promise<unknown> {
  const { pulses } = await store.pulses(0)
  return pulses.find((each) => each.session === session)
}

export function proveStatuses(prove: ProveDeliveries): void {
  prove('what an agent says that it does is kept for its partner, with the time when it was heard', async (fleet) => {
    const { a, b } = await fleet.channel()
    assert.equal(await a.store.lastStatus(b.session), null, 'it was never heard')
    for (const status of SAID_STATUSES) {
      await b.store.noteStatus(b.session, status)
      assert.deepEqual((await a.store.lastStatus(b.session))?.status, status)
    }
    const { heardAt } = (await a.store.lastStatus(b.session)) ?? { heardAt: 0 }
    assert.ok(Math.abs(heardAt - fleet.clock.wall()) < 30_000)
    fleet.clock.pass(60_000)
    await b.store.noteStatus(b.session, 'complete')
    const later = (await b.store.lastStatus(b.session))?.heardAt ?? 0
    assert.ok(later >= heardAt + 60_000, 'the same again is heard again')
    assert.equal(await b.store.lastStatus(a.session), null)
  })

  prove(
    'a status is no beat, and a beat keeps the status',
    async (fleet) => {
      const { b } = await fleet.channel()
      await b.store.noteStatus(b.session, 'blocked')
      await fleet.store.tend()
      fleet.clock.pass(2_000)
      await fleet.store.tend()
      assert.equal(await pulseOf(fleet, b.session), undefined)
      await b.store.beat([{ session: b.session, host: 'h', incarnation: 'i', seq: 1, work: 0 }])
      await fleet.store.tend()
      fleet.clock.pass(2_000)
      await fleet.store.tend()
      assert.equal((await b.store.lastStatus(b.session))?.status, 'blocked')
      const { incarnation, work } = (await pulseOf(fleet, b.session)) as { incarnation: string; work: number }
      assert.deepEqual([incarnation, work], ['i', 0])
    },
    'tend',
    'pulses',
  )

  prove(
    'an agent that beats and says nothing is shown at work',
    async (fleet) => {
      const { a, b } = await fleet.channel()
      await b.store.beat([{ session: b.session, host: 'h', incarnation: 'i', seq: 1, work: 0 }])
      await fleet.store.tend()
      assert.equal((await a.store.lastStatus(b.session))?.status, 'working')
    },
    'tend',
  )

  prove(
    'nobody says anything for a session that is not there, or has ended',
    async (fleet) => {
      await assert.rejects(fleet.store.noteStatus(UNKNOWN, 'working'), { code: 'not_found' })
      const { id, b } = await fleet.channel()
      await fleet.store.endConversation(id)
      await assert.rejects(fleet.store.noteStatus(b.session, 'working'), { code: 'expired' })
    },
    'endConversation',
  )
}
