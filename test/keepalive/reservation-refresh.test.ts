/** The list of reservations that keepalive keeps fresh for the hooks of git. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import type { Reservation } from '#fleet/reservation.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { ReservationList } from '#spool/reservation-list.ts'
import { ReservationRefresh } from '../../services/keepalive/reservation-refresh.ts'
import { OTHER, READER } from '../core/spool/sample.ts'
import { ManualClock, settle } from '../manual-clock.ts'

const REFRESH_MS = 60_000

function reservation(glob: string): Reservation {
  const rest = { task: null, epoch: null, note: null, since: 0, until: 1e12 } as const
  return { agent: 's2-worker-2', repository: ['example.org/shop'], glob, mode: 'exclusive', ...rest }
}

class Scene implements AsyncDisposable {
  readonly clock = new ManualClock()
  list: ReservationList | null = { at: 0, reservations: [] }
  fault: S2Error | null = null
  /** Sessions that the bridge does not hear from here. */
  readonly silent = new Set<SessionId>()
  /** What each bridge says, and how often one was asked. */
  readonly said = new Map([[READER, reservation('src/**')]])
  asked = 0
  readonly #stores = new Map<SessionId, { reservations(): Promise<Reservation[]> }>()
  readonly #over = new AbortController()
  readonly #refresh: ReservationRefresh

  constructor() {
    this.#refresh = new ReservationRefresh({
      clock: this.clock,
      chance: () => 0.5,
      signal: this.#over.signal,
      lists: {
        isWanted: async () => this.list !== null,
        keep: async (list) => {
          this.list = list
        },
      },
      sessionsHere: () => [...this.said.keys()],
      storeOf: (session) => (this.silent.has(session) ? null : this.#storeOf(session)),
      onTrouble: () => undefined,
      onWell: () => undefined,
    })
  }

  get globs(): string[] {
    return (this.list?.reservations ?? []).map(({ glob }) => glob)
  }

  async pass(ms = REFRESH_MS): Promise<void> {
    await this.clock.advance(ms)
    await settle()
  }

  #storeOf(session: SessionId): { reservations(): Promise<Reservation[]> } {
    const reservations = async (): Promise<Reservation[]> => {
      this.asked += 1
      if (this.fault !== null) throw this.fault
      const said = this.said.get(session)
      return said === undefined ? [] : [said]
    }
    const store = this.#stores.get(session) ?? { reservations }
    this.#stores.set(session, store)
    return store
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await this.#refresh.done
  }
}

test('a list that is there is made anew each minute, with its time', async () => {
  await using scene = new Scene()
  await scene.pass()
  assert.deepEqual(scene.globs, ['src/**'])
  scene.said.set(READER, reservation('docs/**'))
  const before = scene.list?.at ?? 0
  await scene.pass()
  assert.deepEqual(scene.globs, ['docs/**'])
  assert.equal((scene.list?.at ?? 0) - before, REFRESH_MS)
})

test('where nobody reserved files or asked who has them, no bridge is asked', async () => {
  await using scene = new Scene()
  scene.list = null
  await scene.pass()
  await scene.pass()
  assert.deepEqual([scene.list, scene.asked], [null, 0])
})

test('a list stays as it is while a bridge is away, and is made soon after', async () => {
  await using scene = new Scene()
  scene.said.set(OTHER, reservation('lib/**'))
  scene.silent.add(OTHER)
  await scene.pass()
  assert.deepEqual([scene.globs, scene.asked], [[], 0], 'a part is not the whole')
  scene.silent.clear()
  await scene.pass(5_000)
  assert.deepEqual(scene.globs, ['src/**', 'lib/**'])
  scene.fault = new S2Error('unavailable', 'away')
  scene.said.delete(OTHER)
  await scene.pass()
  assert.deepEqual(scene.globs, ['src/**', 'lib/**'])
  scene.fault = null
  await scene.pass()
  assert.deepEqual(scene.globs, ['src/**'])
})

test('a bridge of an earlier version is asked no more often than another', async () => {
  await using scene = new Scene()
  scene.fault = new S2Error('not_found', 'there is nothing at /v1/reservations')
  await scene.pass(REFRESH_MS * 3)
  assert.ok(scene.asked <= 4, `asked ${scene.asked} times`)
  assert.deepEqual(scene.globs, [])
})
