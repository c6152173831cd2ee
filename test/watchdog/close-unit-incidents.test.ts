/** Incidents of units that failed: opened from outside, told by the watchdog, closed when the program is up again. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Incident, unitFailed, unitOf } from '#fleet/incident.ts'
import { systemClock } from '#runtime/clock.ts'
import { Health, serveHealth } from '#runtime/health.ts'
import { healthSocket } from '#runtime/health-client.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import { closeUnitIncidents } from '../../services/watchdog/close-unit-incidents.ts'

test('closed when the program has been ready for a while, and not by one that falls again', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-recovered-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rmSync(state, { recursive: true }))
  const over = new AbortController()
  const looks: string[] = []
  let now = 0
  const health = new Health()
  let server: AsyncDisposable | null = null
  /** What happens between looks, which are 5 s apart: the program comes, falls, comes and stays. */
  const story: Readonly<Record<number, () => Promise<void>>> = {
    2: async () => {
      health.enter('ready')
      server = await serveHealth(health, { path: healthSocket(state, 'bridge') })
    },
    5: async () => void (await server?.[Symbol.asyncDispose]()),
    7: async () => {
      health.enter('init')
      server = await serveHealth(health, { path: healthSocket(state, 'bridge') })
    },
    9: async () => health.enter('ready'),
  }
  const clock = {
    now: () => now,
    wall: () => now,
    sleep: async (ms: number, signal?: AbortSignal) => {
      if (deadlines.isNext()) return await whenAborted(signal)
      now += ms
      const open = (await store.incidents({ open: true })).length
      looks.push(`${open}`)
      await story[looks.length]?.()
      if (open === 1 && looks.length < 40) return
      over.abort()
    },
  }
  const store = stack.use(openMemoryStore({ clock: systemClock }))
  assert.ok(await store.openIncident(unitFailed('s2-bridge', 'exit code 78'), ['log']))
  assert.ok(await store.openIncident({ cause: 'blind', kind: 'blind', agent: null, summary: 'x' }, []))
  await store.closeIncident('blind', [])
  const parts = {
    store,
    clock,
    log: recordingLog(),
    signal: over.signal,
    state,
    isActive: async () => false,
  }
  const deadlines = new Deadlines(store)
  await closeUnitIncidents({ ...parts, store: deadlines }).done
  await (server as AsyncDisposable | null)?.[Symbol.asyncDispose]()
  // ready from the 9th pause on: four more looks make 20 s
  assert.equal(looks.length, 9 + 5, looks.join(''))
  const told = (await store.claimAlerts(['log'], 1000)).map(({ event }) => event)
  assert.deepEqual(told, ['opened'])
})

test('a program that answers elsewhere is asked for at the service manager', async () => {
  const over = new AbortController()
  let now = 0
  await using store = openMemoryStore({ clock: systemClock })
  await store.openIncident(unitFailed('s2-worker-keepalive', ''), [])
  const clock = {
    now: () => now,
    wall: () => now,
    sleep: async (ms: number, signal?: AbortSignal) => {
      if (deadlines.isNext()) return await whenAborted(signal)
      now += ms
      if (now > 60_000 || (await store.incidents({ open: true })).length === 0) over.abort()
    },
  }
  const asked: string[] = []
  const isActive = async (unit: string): Promise<boolean> => {
    asked.push(unit)
    return asked.length > 2
  }
  const parts = {
    store,
    clock,
    log: recordingLog(),
    signal: over.signal,
    state: '/nonexistent',
    isActive,
  }
  const deadlines = new Deadlines(store)
  await closeUnitIncidents({ ...parts, store: deadlines }).done
  assert.equal(asked.length, 2 + 5)
  assert.equal(asked[0], 's2-worker-keepalive')
})

/** Tells the deadline of a program's answer, which never passes here, from the pause between two looks: each look begins by reading. */
class Deadlines {
  readonly #store: Store
  #isNext = false

  constructor(store: Store) {
    this.#store = store
  }

  isNext(): boolean {
    const isNext = this.#isNext
    this.#isNext = false
    return isNext
  }

  async incidents(filter: { readonly open: boolean }): Promise<Incident[]> {
    const found = await this.#store.incidents(filter)
    this.#isNext = found.some((each) => unitOf(each) !== null)
    return found
  }

  async closeIncident(cause: string, channels: readonly string[]): Promise<boolean> {
    return await this.#store.closeIncident(cause, channels)
  }
}

async function whenAborted(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => signal?.addEventListener('abort', resolve, { once: true }))
}
