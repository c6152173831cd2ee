import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { alertsFailing, type IncidentKind } from '#fleet/incident.ts'
import { recordingLog, type Said } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import type { AlertChannel } from '../../services/watchdog/alert-channels.ts'
import { AlertSender } from '../../services/watchdog/alert-sender.ts'
import type { Notice } from '../../services/watchdog/alert-text.ts'
import { FailingChannels } from '../../services/watchdog/failing-channels.ts'
import { OpenIncidents } from '../../services/watchdog/open-incidents.ts'
import { Life, Machine, Timeline } from '../simulation/clock.ts'
import { CONFIG, Stage, through } from './stage.ts'

const SECOND = 1_000
const MINUTE = 60_000

/** One store, and watchdogs' tellers of one channel on it. */
class Booth implements AsyncDisposable {
  readonly timeline = new Timeline()
  readonly machine = new Machine('booth', this.timeline)
  readonly clock = new Life('booth', this.machine).clock
  readonly store = openMemoryStore({ clock: this.clock })
  /** `event cause` and when, for each alert that a channel took. */
  readonly told: (readonly [what: string, at: number])[] = []
  readonly log = recordingLog()
  failures = 0
  successes = 0
  readonly #stops: (() => Promise<void>)[] = []

  teller(
    tell: (alert: Notice) => Promise<void> = async () => undefined,
    store: Store = this.store,
    wants: (kind: IncidentKind) => boolean = () => true,
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
    const onSuccess = (): void => {
      this.successes += 1
    }
    const { clock, log } = this
    const parts = { store, clock, log, chance: () => 0.999, signal: stop.signal }
    const sender = new AlertSender(channel, { ...parts, channels: ['test'], wants, onSuccess, onFailure })
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

test('a watchdog that wakes from a suspend tells nothing that another has told or is telling', async () => {
  await using booth = new Booth()
  const { timeline, store, told } = booth
  const laptop = new Machine('laptop', timeline)
  const sleeper = Object.assign(new Booth(), { timeline, store, told, clock: new Life('sleeper', laptop).clock })
  await using _ = sleeper
  for (let n = 0; n < 3; n += 1) await booth.incident(`x${n}`)
  sleeper.teller(() => sleeper.clock.sleep(5 * SECOND))
  await booth.run(2 * SECOND)
  laptop.suspend()
  booth.teller(() => booth.clock.sleep(5 * SECOND))
  await booth.run(68 * SECOND) // the other has told the first one, and is telling the second
  assert.deepEqual(booth.what, ['opened x0'])
  laptop.resume()
  await booth.run(5 * MINUTE)
  const again = booth.what.filter((what) => what !== 'opened x0')
  assert.deepEqual(again, ['opened x1', 'opened x2'])
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

test('a wall clock that is put back or forward holds up nothing that is to be told again', async () => {
  for (const stepMs of [-180 * MINUTE, 180 * MINUTE]) {
    await using booth = new Booth()
    let takes = false
    booth.teller(async () => {
      if (!takes) throw new Error('not now')
    })
    await booth.incident('x')
    await booth.run(2 * SECOND)
    takes = true
    booth.machine.stepWall(stepMs)
    await booth.incident('y')
    await booth.run(30 * SECOND)
    assert.deepEqual(booth.what.sort(), ['opened x', 'opened y'])
  }
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

test('an alert for every channel is told by each of the watchdog', async () => {
  await using booth = new Booth()
  booth.teller()
  await booth.store.openIncident({ cause: 'x', kind: 'task_failed', agent: null, summary: 'x failed' }, ['*'])
  await booth.run(10 * SECOND)
  assert.deepEqual(booth.what, ['opened x'])
})

test('a channel is spared the kinds that it does not want, and they wait for nobody', async () => {
  await using booth = new Booth()
  booth.teller(undefined, booth.store, (kind) => kind !== 'twins')
  await booth.incident('x')
  await booth.store.openIncident({ cause: 'y', kind: 'twins', agent: null, summary: 'y' }, ['test'])
  await booth.run(10 * SECOND)
  assert.deepEqual(booth.what, ['opened x'])
  assert.equal(booth.successes, 1, 'what was not sent is no success of the channel')
  await booth.run(2 * MINUTE)
  assert.deepEqual(await booth.store.claimAlerts(['test'], MINUTE), [])
})

test('an incident that lasts is told again once after an hour, by one of two watchdogs', async () => {
  await using stage = await Stage.open(2)
  const watchdogs = [stage.watchdog(), stage.watchdog()]
  await stage.run(MINUTE)
  stage.silence('w1')
  await stage.run(30 * MINUTE)
  const lasting = (): unknown[] =>
    watchdogs.flatMap((each) => each.said('incident lasts')).map(({ fields }) => fields?.text)
  assert.deepEqual(lasting(), [])
  await stage.run(33 * MINUTE)
  const [text, ...more] = lasting()
  assert.match(String(text), /^S2 incident still open after 1 h: w1 .*was not heard for 1m/)
  assert.deepEqual(more, [])
})

/** Two channels of one watchdog, `log` and `hook`, and what is found of them. */
class Channels implements AsyncDisposable {
  readonly timeline = new Timeline()
  readonly clock = new Life('channels', new Machine('channels', this.timeline)).clock
  readonly store: Store
  readonly told: string[] = []
  trouble: string | null = null
  takes = true
  readonly #stop = new AbortController()
  readonly #done: Promise<void>[] = []

  constructor(store?: Store) {
    this.store = store ?? openMemoryStore({ clock: this.clock })
    const { clock } = this
    const { signal } = this.#stop
    const names = ['log', 'hook']
    const incidents = new OpenIncidents(this.store, names, clock)
    const failing = new FailingChannels({
      names,
      incidents,
      clock,
      onIncident: () => undefined,
      onTrouble: (why) => {
        this.trouble = why
      },
    })
    const loop = new Loop({ clock, signal, step: () => failing.step(), onError: (error) => assert.fail(String(error)) })
    const read = new Loop({ clock, signal, step: () => incidents.read().then(() => MINUTE), onError: () => MINUTE })
    const log = recordingLog()
    const channels = names.map((name) => ({
      name,
      tell: async ({ event, incident }: Notice) => {
        if (name === 'hook' && !this.takes) throw new Error('status 500')
        this.told.push(`${name} ${event} ${incident.cause}`)
      },
    }))
    const senders = channels.map((channel) => {
      return new AlertSender(channel, {
        store: this.store,
        clock,
        log,
        chance: () => 0.5,
        signal,
        channels: names,
        wants: () => true,
        onSuccess: (name) => void (failing.noteSuccess(name) && loop.nudge()),
        onFailure: (name, error) => {
          failing.noteFailure(name, error)
          loop.nudge()
        },
      })
    })
    this.#done.push(loop.done, read.done, ...senders.map(({ done }) => done))
  }

  async open(): Promise<string[]> {
    return (await this.store.incidents({ open: true })).map(({ cause }) => cause)
  }

  async run(ms: number): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)) // what was begun by now happens now
    await this.timeline.runTo(this.timeline.now + ms)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#done)
  }
}

const X = { cause: 'x', kind: 'silent', agent: null, summary: 'x' } as const

test('a channel that fails is one incident, which the others tell, and a trouble; both end with its next success', async () => {
  await using scene = new Channels()
  scene.takes = false
  await scene.store.openIncident(X, ['*'])
  await scene.run(30 * SECOND)
  assert.deepEqual(scene.told, ['log opened x', 'log opened alerts_failing:hook'])
  assert.equal(scene.trouble, 'hook takes no alerts: status 500')
  const [, incident] = await scene.store.incidents({ open: true })
  assert.match(
    String(incident?.summary),
    /^alerts by hook fail: 3 tries within \d+s, the last one: status 500; they wait .* s2 alert test/,
  )
  await scene.run(20 * MINUTE)
  assert.equal(scene.told.length, 2)
  scene.takes = true
  await scene.run(10 * MINUTE)
  assert.deepEqual(scene.told.slice(2), ['hook opened x', 'log closed alerts_failing:hook'])
  assert.equal(scene.trouble, null)
  assert.deepEqual(await scene.open(), ['x'])
})

test('a channel that fails for a moment is no trouble; one that has failed for a minute is, however seldom it was tried', async () => {
  await using scene = new Channels()
  scene.takes = false
  await scene.store.openIncident(X, ['*'])
  await scene.run(2 * SECOND)
  scene.takes = true
  await scene.run(2 * MINUTE)
  assert.deepEqual(scene.told.sort(), ['hook opened x', 'log opened x'])

  await using clock = new Booth()
  const incidents = new OpenIncidents(clock.store, ['log', 'hook'], clock.clock)
  const parts = { names: ['log', 'hook'], incidents, clock: clock.clock, onIncident: () => undefined }
  const failing = new FailingChannels({ ...parts, onTrouble: () => undefined })
  failing.noteFailure('hook', new Error('status 500'))
  assert.equal(await failing.step(), MINUTE)
  await clock.run(MINUTE)
  await failing.step()
  assert.deepEqual([...incidents.byCause.keys()], ['alerts_failing:hook'])
})

test('what an earlier watchdog told of its channels ends with their next success, or when they are channels no more', async () => {
  const scene = new Channels()
  await scene.store.openIncident(alertsFailing('hook', 'status 500'), [])
  await scene.store.openIncident(alertsFailing('exec', 'exit code 3'), [])
  await using next = new Channels(scene.store)
  await scene[Symbol.asyncDispose]()
  await next.run(2 * MINUTE)
  assert.deepEqual(
    (await next.store.incidents({ open: false })).map(({ outcome }) => outcome),
    ['hook takes alerts again', 'exec is no alert channel any more'],
  )
})

test('the watchdog reports a channel that fails, and shows nobody its address', async () => {
  await using stage = await Stage.open(3)
  const watchdog = stage.watchdog({ config: { alertWebhook: new URL('http://127.0.0.1:1/hush') } })
  await stage.run(MINUTE)
  stage.silence('w1')
  const told = (): Said[] => watchdog.said('incident opened').filter(({ fields }) => fields?.kind === 'alerts_failing')
  for (let n = 0; n < 500 && told().length === 0; n += 1) {
    await stage.run(SECOND)
    await new Promise((resolve) => setImmediate(resolve)) // the address is tried in real time
  }
  const { fields } = told()[0] as Said
  assert.match(String(watchdog.alertTrouble), /^webhook takes no alerts: /)
  assert.doesNotMatch(`${JSON.stringify(fields)} ${watchdog.alertTrouble}`, /hush|127\.0/)
})
