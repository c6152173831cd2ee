/** What a host tells its bridge of messages in hand. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import type { LeaseNote } from '#fleet/message-leases.ts'
import type { GivenUpMessage, MessageInHand } from '#spool/inbox-leases.ts'
import { LeaseReporter } from '../../services/keepalive/lease-reporter.ts'
import { OTHER, READER } from '../core/spool/sample.ts'
import { ManualClock, settle } from '../manual-clock.ts'

class Scene implements AsyncDisposable {
  readonly clock = new ManualClock()
  inHand: MessageInHand[] = []
  givenUp: GivenUpMessage[] = []
  fault: S2Error | null = null
  /** Sessions that the bridge does not hear from here. */
  readonly silent = new Set<string>()
  readonly noted: { session: string; notes: readonly LeaseNote[] }[] = []
  readonly dead: { session: string; ids: readonly number[]; why: string }[] = []
  readonly left: number[] = []
  readonly troubles: unknown[] = []
  readonly #over = new AbortController()
  readonly #reporter: LeaseReporter

  constructor() {
    const store = {
      noteLeases: async (session: string, notes: readonly LeaseNote[]) => {
        if (this.fault !== null) throw this.fault
        this.noted.push({ session, notes })
      },
      giveUpMessages: async (session: string, ids: readonly number[], why: string) => {
        if (this.fault !== null) throw this.fault
        this.dead.push({ session, ids, why })
      },
    }
    this.#reporter = new LeaseReporter({
      clock: this.clock,
      chance: () => 0.5,
      signal: this.#over.signal,
      leases: {
        release: async () => ({ inHand: this.inHand, givenUp: this.givenUp }),
        letGo: async (ids) => {
          this.left.push(...ids)
          this.givenUp = this.givenUp.filter(({ id }) => !ids.includes(id))
        },
      },
      storeOf: (session) => (this.silent.has(session) ? null : store),
      onGivenUp: () => undefined,
      onTrouble: (error) => this.troubles.push(error),
      onWell: () => undefined,
    })
  }

  async pass(): Promise<void> {
    await this.clock.advance(40_000)
    await settle()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await this.#reporter.done
  }
}

function taken(id: number, times: number, to = READER): MessageInHand {
  return { id, to, lease: { by: 'claude:one', process: null, at: 5, times } }
}

test('each lease is told once, and again when the message is handed out again', async () => {
  await using scene = new Scene()
  scene.inHand = [taken(1, 1), taken(2, 1, OTHER)]
  await scene.pass()
  await scene.pass()
  const note = { id: 1, by: 'claude:one', at: 5, times: 1 }
  assert.deepEqual(scene.noted, [
    { session: READER, notes: [note] },
    { session: OTHER, notes: [{ ...note, id: 2 }] },
  ])
  scene.inHand = [taken(1, 2)]
  await scene.pass()
  assert.deepEqual(scene.noted.at(-1), { session: READER, notes: [{ ...note, times: 2 }] })
})

test('what is given up leaves the inbox when the bridge knows, and not before', async () => {
  await using scene = new Scene()
  scene.givenUp = [{ id: 1, to: READER, why: 'nobody acks it' }]
  scene.fault = new S2Error('unavailable', 'away')
  await scene.pass()
  assert.deepEqual(scene.left, [])
  assert.ok(scene.troubles.length > 0)
  scene.fault = null
  scene.silent.add(READER)
  await scene.pass()
  assert.deepEqual(scene.left, [], 'the session is not heard from here')
  scene.silent.clear()
  await scene.pass()
  assert.deepEqual([scene.dead, scene.left], [[{ session: READER, ids: [1], why: 'nobody acks it' }], [1]])
})

test('a bridge of an earlier version, or a conversation that is over, holds nothing up', async () => {
  await using scene = new Scene()
  scene.fault = new S2Error('not_found', 'there is nothing at /v1/noteLeases')
  scene.inHand = [taken(1, 1)]
  scene.givenUp = [{ id: 2, to: READER, why: 'nobody acks it' }]
  await scene.pass()
  assert.deepEqual([scene.left, scene.troubles], [[2], []])
})
