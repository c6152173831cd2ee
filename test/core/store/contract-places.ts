/** The promise of `Store` about two lives under one credential, part of the suite for every backend. */
import assert from 'node:assert/strict'
import type { Beat, Contest } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { PLACE_HELD_MS } from '#fleet/speakers.ts'
import type { Task } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'
import type { MovableClock } from '../../movable-clock.ts'

interface End {
  readonly session: SessionId
  readonly store: Store
}

export interface PlacesFleet {
  readonly store: Store
  readonly clock: MovableClock
  channel(worker?: string): Promise<{ readonly b: End }>
  task(fields: { readonly id: string; readonly holder: SessionId }): Promise<Task>
}

export type ProvePlaces = (
  title: string,
  body: (fleet: PlacesFleet) => Promise<void>,
  ...needs: (keyof Store)[]
) => void

/** One of several lives of an agent: all of them have its credential. */
class Life {
  readonly #end: End
  readonly #host: string
  readonly #place: string | undefined
  #seq = 0

  constructor(end: End, host: string, place?: string) {
    this.#end = end
    this.#host = host
    this.#place = place
  }

  async beat(): Promise<void> {
    this.#seq += 1
    const place = this.#place === undefined ? {} : { place: this.#place }
    const beat: Beat = {
      session: this.#end.session,
      host: this.#host,
      incarnation: this.#host,
      seq: this.#seq,
      work: 0,
    }
    await this.#end.store.beat([{ ...beat, ...place }])
  }

  async lease(): Promise<Task | null> {
    return await this.#end.store.leaseTask(this.#end.session, `work-${this.#host}`, [], this.#place)
  }
}

async function refusalOf(asked: Promise<unknown>): Promise<S2Error> {
  const error: unknown = await asked.then(
    () => 'it was let in',
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof S2Error && error.code === 'conflict', String(error))
  return error
}

async function hostHeard(store: Store, session: SessionId): Promise<string | undefined> {
  return (await store.pulses(0)).pulses.find((pulse) => pulse.session === session)?.host
}

async function contests(store: Store): Promise<readonly Contest[]> {
  return (await store.pulses(0)).contests ?? []
}

export function provePlaces(prove: ProvePlaces): void {
  prove(
    'the place that is heard first speaks for a session; another is refused, and told by whom and what to do',
    async (fleet) => {
      const { b } = await fleet.channel()
      const [first, second] = [new Life(b, 'box-1', 'one'), new Life(b, 'box-2', 'two')]
      await first.beat()
      fleet.clock.elapse(PLACE_HELD_MS / 2)
      const { message, next, retryAfterS } = await refusalOf(second.beat())
      assert.match(message, new RegExp(`^${b.session} is spoken for by box-1`))
      assert.match(next ?? '', /stop S2 on one of the two, .*s2 worker invite/)
      assert.ok((retryAfterS ?? 0) > 0 && (retryAfterS ?? 0) <= PLACE_HELD_MS / 2_000, `${retryAfterS}`)
      assert.equal(await hostHeard(fleet.store, b.session), 'box-1')
      await first.beat()
      fleet.clock.elapse(PLACE_HELD_MS - 5_000)
      await refusalOf(second.beat())
    },
    'pulses',
  )

  prove('the refused one gets no task, and takes none from the other', async (fleet) => {
    const { b } = await fleet.channel()
    const [first, second] = [new Life(b, 'box-1', 'one'), new Life(b, 'box-2', 'two')]
    await fleet.task({ id: 't1', holder: b.session })
    await first.beat()
    const leased = await first.lease()
    const { message } = await refusalOf(second.lease())
    assert.match(message, /is spoken for by box-1/)
    assert.deepEqual(await first.lease(), leased)
    assert.equal((await fleet.store.task('t1')).epoch, leased?.epoch)
  })

  prove('who asks for work speaks too, whether it beats or not', async (fleet) => {
    const { b } = await fleet.channel()
    const [first, second] = [new Life(b, 'box-1', 'one'), new Life(b, 'box-2', 'two')]
    assert.equal(await first.lease(), null)
    assert.match((await refusalOf(second.lease())).message, /is spoken for by another host/)
    await refusalOf(second.beat())
  })

  prove(
    'when the first falls silent the second is let in, and the first is refused when it comes back',
    async (fleet) => {
      const { b } = await fleet.channel()
      const [first, second] = [new Life(b, 'box-1', 'one'), new Life(b, 'box-2', 'two')]
      await fleet.task({ id: 't1', holder: b.session })
      await first.beat()
      await first.lease()
      await refusalOf(second.beat())
      fleet.clock.pass(10 * PLACE_HELD_MS) // the wall clock says nothing
      await refusalOf(second.beat())
      fleet.clock.elapse(PLACE_HELD_MS)
      await second.beat()
      assert.equal(await hostHeard(fleet.store, b.session), 'box-2')
      assert.equal((await second.lease())?.epoch, 2)
      assert.match((await refusalOf(first.beat())).message, /is spoken for by box-2/)
      await refusalOf(first.lease())
    },
    'pulses',
  )

  prove(
    'two lives are told when the first is heard after the second was refused, and rise each time; one that only moved is none',
    async (fleet) => {
      const [{ b }, moved] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
      const [first, second] = [new Life(b, 'box-1', 'one'), new Life(b, 'box-2', 'two')]
      const [before, after] = [new Life(moved.b, 'box-3', 'three'), new Life(moved.b, 'box-3', 'four')]
      await before.beat()
      await refusalOf(after.beat())
      fleet.clock.elapse(PLACE_HELD_MS)
      await after.beat()
      await after.beat()
      await first.beat()
      await refusalOf(second.beat())
      assert.deepEqual(await contests(fleet.store), [])
      await first.beat()
      const told = { session: b.session, heard: 'box-1', refused: 'box-2' }
      assert.deepEqual(await contests(fleet.store), [{ ...told, times: 1 }])
      await first.beat()
      assert.deepEqual(await contests(fleet.store), [{ ...told, times: 1 }])
      await refusalOf(second.beat())
      await first.beat()
      assert.deepEqual(await contests(fleet.store), [{ ...told, times: 2 }])
    },
    'pulses',
  )

  prove('a machine that is cloned with its name is told so', async (fleet) => {
    const { b } = await fleet.channel()
    const [first, second] = [new Life(b, 'box', 'one'), new Life(b, 'box', 'two')]
    await first.beat()
    assert.match((await refusalOf(second.beat())).message, /by another host that is called box too/)
  })

  prove('what starts anew in the same place is let in at once', async (fleet) => {
    const { b } = await fleet.channel()
    await fleet.task({ id: 't1', holder: b.session })
    await new Life(b, 'box-1', 'one').beat()
    const again = new Life(b, 'box-1-renamed', 'one')
    await again.beat()
    assert.equal((await again.lease())?.id, 't1')
  })

  prove(
    'older hosts, which name no place, are heard beside any',
    async (fleet) => {
      const { b } = await fleet.channel()
      const [placed, older] = [new Life(b, 'box-1', 'one'), new Life(b, 'box-2')]
      await fleet.task({ id: 't1', holder: b.session })
      await placed.beat()
      await older.beat()
      assert.equal(await hostHeard(fleet.store, b.session), 'box-2')
      assert.equal((await older.lease())?.id, 't1')
      await placed.beat()
      assert.equal(await hostHeard(fleet.store, b.session), 'box-1')
      assert.deepEqual(await contests(fleet.store), [])
    },
    'pulses',
  )

  prove(
    'a session that is refused keeps no other from being heard',
    async (fleet) => {
      const [one, other] = [await fleet.channel('w-1'), await fleet.channel('w-2')]
      await new Life(one.b, 'box-1', 'one').beat()
      const beats: Beat[] = [one, other].map(({ b }) => {
        return { session: b.session, host: 'box-2', incarnation: 'box-2', seq: 1, work: 0, place: 'two' }
      })
      await refusalOf(fleet.store.beat(beats))
      assert.equal(await hostHeard(fleet.store, one.b.session), 'box-1')
      assert.equal(await hostHeard(fleet.store, other.b.session), 'box-2')
    },
    'pulses',
  )

  prove(
    'a new host that is admitted as a known worker speaks at once: the one before has no credential any more',
    async ({ store }) => {
      const admit = async (name: string) =>
        await store.admitWorker({
          agent: 's2-worker-3',
          key: name.repeat(43),
          recipient: `age1${'q'.repeat(58)}`,
          host: `box-${name}`,
          secretHash: null,
          role: 'tests',
          orchestrator: 'orchestrator',
          lifetimeMs: 3_600_000,
        })
      const { conversation } = await admit('a')
      const end = { session: sessionId(conversation ?? '', 'b'), store }
      await new Life(end, 'box-a', 'one').beat()
      await admit('b')
      await new Life(end, 'box-b', 'two').beat()
      assert.equal(await hostHeard(store, end.session), 'box-b')
    },
    'admitWorker',
    'pulses',
  )
}
