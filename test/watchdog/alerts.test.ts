import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import type { Alert } from '#fleet/incident.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import type { AlertChannel } from '../../services/watchdog/alert-channels.ts'
import { AlertSender } from '../../services/watchdog/alert-sender.ts'
import { Life, Machine, Timeline } from '../simulation/clock.ts'
import { CONFIG, Stage, through } from './stage.ts'

const SECOND = 1_000
const MINUTE = 60_000

/** One store, and watchdogs' tellers of one channel on it. */
class Booth implements AsyncDisposable {
  readonly timeline = new Timeline()
  readonly clock = new Life('booth', new Machine('booth', this.timeline)).clock
  readonly store = openMemoryStore({ clock: this.clock })
  /** `event cause` and when, for each alert that a channel took. */
  readonly told: (readonly [what: string, at: number])[] = []
  readonly log = recordingLog()
  failures = 0
  readonly #stops: (() => Promise<void>)[] = []

  teller(
    tell: (alert: Alert) => Promise<void> = async () => undefined,
    store: Store = this.store,
  ): () => Promise<void> {
    const stop = new AbortController()
    const channel: AlertChannel = {
      name: 'test',
      tell: async (alert, signal) => {
        const aborted = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        await Promise.race([tell(alert), aborted])
        this.told.push([`${alert.event} ${alert.incident.cause}`, this.timeline.now])
      },
    }
    const onFailure = (): void => {
      this.failures += 1
    }
    const { clock, log } = this
    const sender = new AlertSender(channel, { store, clock, log, chance: () => 0.999, signal: stop.signal, onFailure })
    const end = async (): Promise<void> => {
      stop.abort(new Error('over'))
      await sender.done
    }
    this.#stops.push(end)
    return end
  }

  async incident(cause: string): Promise<void> {
    await this.store.openIncident({ cause, kind: 'silent', agent: null, summary: cause }, ['test'])
  }

  async run(ms: number): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)) // what was begun by now happens now
    await this.timeline.runTo(this.timeline.now + ms)
  }

  get what(): string[] {
    return this.told.map(([what]) => what)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) await stop()
  }
}

test('what a channel does not take is told again, after longer and longer waits, and then no more', async () => {
  await using booth = new Booth()
  const tries: number[] = []
  booth.teller(async () => {
    tries.push(booth.timeline.now)
    if (tries.length < 8) throw new Error('not now')
  })
  await booth.incident('x')
  await booth.run(30 * MINUTE)
  assert.deepEqual(booth.what, ['opened x'])
  assert.equal(tries.length, 8)
  assert.equal(booth.failures, 7)
  const waits = tries.slice(1).map((at, index) => at - (tries[index] ?? 0))
  for (const [index, wait] of waits.entries()) {
    const wantedMs = SECOND * 2 ** index
    assert.ok(wait >= wantedMs * 0.99 && wait <= wantedMs + 5 * SECOND, `${wait} ms before try ${index + 2}`)
  }
})

test('an end is told after its beginning, though that had to wait', async () => {
  await using booth = new Booth()
  let fails = true
  booth.teller(async () => {
    if (fails) throw new Error('not now')
  })
  await booth.incident('x')
  await booth.run(20 * SECOND)
  await booth.store.closeIncident('x', ['test'])
  await booth.incident('y')
  fails = false
  await booth.run(5 * MINUTE)
  assert.deepEqual(
    booth.what.filter((what) => what.endsWith('x')),
    ['opened x', 'closed x'],
  )
  assert.equal(booth.what.length, 3)
})

test('two watchdogs tell each alert once, however slow the channel is', async () => {
  await using booth = new Booth()
  for (let n = 0; n < 40; n += 1) await booth.incident(`x${n}`)
  const slow = async (): Promise<void> => booth.clock.sleep(9 * SECOND)
  booth.teller(slow)
  booth.teller(slow)
  await booth.run(30 * MINUTE)
  assert.equal(booth.told.length, 40)
  assert.equal(new Set(booth.what).size, 40)
})

test('what was told is not told again because the store could not be told so', async () => {
  await using booth = new Booth()
  let settles = 0
  const store = through(booth.store, {
    settleAlert: async () => {
      settles += 1
      if (settles < 4) throw new S2Error('unavailable', 'not now')
    },
  })
  booth.teller(undefined, store)
  await booth.incident('x')
  await booth.run(30 * MINUTE)
  assert.deepEqual(booth.what, ['opened x'])
  assert.equal(settles, 4)
})

test('what a watchdog had in hand when it ended is told by another', async () => {
  await using booth = new Booth()
  const stop = booth.teller(() => Promise.withResolvers<void>().promise)
  await booth.incident('x')
  await booth.run(10 * SECOND)
  await stop()
  booth.teller()
  await booth.run(30 * SECOND)
  assert.deepEqual(booth.what, [], 'its claim holds')
  await booth.run(MINUTE)
  assert.deepEqual(booth.what, ['opened x'])
})

test('a store that is away is asked again, with patience', async () => {
  await using booth = new Booth()
  let asked = 0
  const store = through(booth.store, {
    claimAlerts: async () => {
      asked += 1
      if (booth.timeline.now < 10 * MINUTE) throw new S2Error('unavailable', 'away')
    },
  })
  booth.teller(undefined, store)
  await booth.incident('x')
  await booth.run(10 * MINUTE)
  assert.ok(asked > 10 && asked < 100, `${asked} times`)
  await booth.run(MINUTE)
  assert.deepEqual(booth.what, ['opened x'])
})

test('alerts that come one after the other are claimed together, a moment later at most', async () => {
  await using stage = await Stage.open(60)
  const claims: number[] = []
  const claimAlerts = async (): Promise<void> => void claims.push(stage.clock.now())
  const watchdog = stage.watchdog({ store: through(stage.store, { claimAlerts }) })
  await stage.run(2 * MINUTE)
  const names = Array.from({ length: 20 }, (_, n) => `w${n + 1}`)
  stage.silence(...names) // they beat a tenth of a second apart, and so they are missed
  const began = stage.clock.now()
  await stage.run(CONFIG.silentAfterMs + 10 * SECOND)
  const told = watchdog.said('incident opened').map(({ fields }) => fields?.agent)
  assert.deepEqual(told.sort(), names.sort())
  const [first = 0, last = 0] = [watchdog.changes.find(({ to }) => to === 'silent')?.at, watchdog.changes.at(-1)?.at]
  const during = claims.filter((at) => at >= Math.max(began, first - 100) && at <= last + 400).length
  assert.ok(during >= 4 && during <= 12, String(during))
})

test('a command and a webhook that hang hold up neither a look nor the log', async () => {
  const asked = Promise.withResolvers<void>()
  const server = createServer(() => asked.resolve()).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  try {
    await using stage = await Stage.open(4)
    const watchdog = stage.watchdog({
      config: {
        alertExec: { argv: ['/bin/sh', '-c', 'sleep 600'], env: { PATH: process.env.PATH } },
        alertWebhook: new URL(`http://127.0.0.1:${port}/`),
      },
    })
    await stage.addTask('t1', 'w1')
    await stage.run(20 * SECOND)
    stage.silence('w1')
    await stage.run(CONFIG.silentAfterMs + SECOND)
    assert.notEqual((await stage.holders()).t1, 'w1')
    assert.equal(watchdog.said('incident opened').length, 1)
    await asked.promise
    stage.heal('w1')
    await stage.run(10 * SECOND)
    assert.equal(watchdog.said('incident closed').length, 1)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
