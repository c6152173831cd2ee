/**
 * A bridge that is killed and started again, with many hosts that join at once while messages are sent all the time: whatever was
 * accepted reaches its reader's host over the socket, in order, soon after it could. Nothing else may bring it: these hosts never
 * ask, and the one that does (a real keepalive) must not find that anything was left out.
 * STORMS=n goes through n of them, STORM=seed chooses the first.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { publishCredential } from '#spool/credentials.ts'
import { openRemoteStore, type RemoteStore } from '#store/remote/remote.ts'
import { Host, Stage } from '../keepalive/processes.ts'
import type { Program } from '../program.ts'
import { Dice } from '../simulation/chance.ts'
import { singly } from '../singly.ts'
import { until } from '../until.ts'

const STORMS = Number(process.env.STORMS ?? 4)
const SEED = Number(process.env.STORM ?? 1)
const HOSTS = 32
const SENDERS = 6
/** What a stream has not brought in 4 s, a keepalive takes for left out; a machine that is slower than this may cause that. */
const QUICK_MS = 6_000
/** A stream brings a session's messages in their order; one that comes so long after a later one was fetched. */
const OVERTAKEN_MS = 2_000
const NEVER = { first: 3_600_000, most: 3_600_000 }

interface Accepted {
  readonly id: number
  readonly to: Reader
  readonly at: number
}

/** One session, wherever its mail goes. */
class Reader {
  readonly a: SessionId
  readonly got = new Map<number, number>()
  /** When its host's socket opened. */
  readonly openedAt: number[] = []
  readonly ids: number[] = []

  constructor(a: SessionId) {
    this.a = a
  }

  has(id: number): void {
    if (!this.got.has(id)) this.got.set(id, performance.now())
    this.ids.push(id)
  }

  /** How long a message took from when it was accepted and the socket was open. */
  tookMs({ id, at }: Accepted): number {
    const came = this.got.get(id) ?? Number.POSITIVE_INFINITY
    const opened = this.openedAt.filter((each) => each <= came).at(-1) ?? 0
    return came - Math.max(at, opened)
  }
}

/** Hosts, senders, and what became of every message. */
class Storm implements AsyncDisposable {
  readonly #stage: Stage
  readonly #admin: RemoteStore
  readonly #chance: () => number
  readonly readers: Reader[] = []
  readonly accepted: Accepted[] = []
  readonly #stop = new AbortController()
  readonly #ends: Promise<void>[] = []
  readonly #stores: RemoteStore[] = []

  constructor(stage: Stage, chance: () => number) {
    this.#stage = stage
    this.#admin = stage.admin
    this.#chance = chance
  }

  /** A host that reads over the socket and by no other means. */
  async addHost(name: string): Promise<void> {
    const { opened, a, b } = await this.#stage.host(name)
    const reader = new Reader(a)
    const log = recordingLog()
    const info = (event: string): void => {
      if (event === 'link open') reader.openedAt.push(performance.now())
    }
    const parts = { clock: systemClock, chance: systemChance, log: { ...log, info } }
    const ring = { token: () => opened.tokens.b, sessions: () => [b] }
    const store = openRemoteStore(this.#stage.url, ring, parts, { pollMs: NEVER })
    this.#stores.push(store)
    this.readers.push(reader)
    this.#ends.push(
      (async () => {
        for await (const { id } of singly(store.mail(b, 0, this.#stop.signal))) reader.has(id)
      })(),
    )
  }

  start(): void {
    for (let n = 0; n < SENDERS; n += 1) this.#ends.push(this.#send(n))
  }

  async #send(sender: number): Promise<void> {
    const { signal } = this.#stop
    for (let n = 0; !signal.aborted; n += 1) {
      const to = this.readers[Math.floor(this.#chance() * this.readers.length)] as Reader
      const text = `${sender}.${n}`
      // No bridge is asked in vain for long, and one key is one message.
      for (let id: number | null = null; id === null && !signal.aborted; ) {
        id = await this.#admin.send(to.a, text, { text }).then(
          (message) => message.id,
          () => null,
        )
        if (id === null) await sleep(2)
        else this.accepted.push({ id, to, at: performance.now() })
      }
      await sleep(this.#chance() * 6)
    }
  }

  get areLinked(): boolean {
    return this.#stores.every(({ link }) => link.means === 'socket')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#stores.map((store) => store[Symbol.asyncDispose]()))
    await Promise.all(this.#ends)
  }
}

/** Stops and continues a process at moments by chance until told to end. */
async function disturb(bridge: Program, chance: () => number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    bridge.child.kill('SIGSTOP')
    await sleep(chance() * 30)
    bridge.child.kill('SIGCONT')
    await sleep(chance() * 30)
  }
}

test('whatever a bridge accepts right after its start reaches the hosts that join it then', async (context) => {
  const chance = new Dice(`storms ${SEED}`).next
  await using stage = await Stage.open()
  let bridge = await stage.bridge()
  await using storm = new Storm(stage, chance)
  await Promise.all(Array.from({ length: HOSTS }, (_, n) => storm.addHost(`s2-worker-${n}`)))
  storm.start()
  let worstMs = 0
  let count = 0
  for (let round = 0; round < STORMS; round += 1) {
    await sleep(100 + chance() * 300)
    const first = storm.accepted.length
    await bridge.end('SIGKILL')
    await until('the hosts have noticed', async () => !storm.areLinked)
    bridge = await stage.bridge()
    const calm = new AbortController()
    const disturbed = round % 2 === 0 ? Promise.resolve() : disturb(bridge, chance, calm.signal)
    await until('the hosts are back', async () => storm.areLinked)
    await until('it storms', async () => storm.accepted.length - first > 100)
    await sleep(100 + chance() * 300)
    calm.abort()
    await disturbed
    const accepted = storm.accepted.slice(first)
    const late = (): Accepted[] => accepted.filter((each) => !each.to.got.has(each.id))
    await until('all has come', async () => late().length === 0).catch((error) => {
      throw new Error(`${late().length} of ${accepted.length} messages never came, round ${round} of storm ${SEED}`, {
        cause: error,
      })
    })
    worstMs = Math.max(worstMs, ...accepted.map((each) => each.to.tookMs(each)))
    count += accepted.length
  }
  context.diagnostic(`${count} messages in ${STORMS} storms; the slowest took ${worstMs.toFixed(0)} ms`)
  for (const { ids } of storm.readers)
    assert.ok(
      ids.every((id, at) => at === 0 || id > (ids[at - 1] ?? 0)),
      'in order',
    )
})

test('a keepalive that carries many sessions leaves nothing out when its bridge comes back', async (context) => {
  const chance = new Dice(`hosts ${SEED}`).next
  await using stage = await Stage.open()
  let bridge = await stage.bridge()
  const first = await stage.host('s2-worker-0')
  const hosts = [first]
  for (let n = 1; n < 24; n += 1) {
    const { opened } = await stage.host(`s2-worker-${n}`)
    hosts.push(new Host(first.state, opened, stage.url, `s2-worker-${n}`))
  }
  for (const { state, credential } of hosts) await publishCredential(state, credential)
  const keepalive = stage.keepalive(first)
  await keepalive.says('session joined', hosts.length)
  await keepalive.says('link open')
  const { admin } = stage
  const stop = new AbortController()
  const sent: number[] = []
  const senders = hosts.map(async ({ a }) => {
    for (let n = 0; !stop.signal.aborted; ) {
      const message = await admin.send(a, String(n), { text: String(n) }).catch(() => null)
      if (message !== null) {
        sent.push(message.id)
        n += 1
      }
      await sleep(chance() * 60)
    }
  })
  const began = performance.now()
  for (let round = 1; round <= 2; round += 1) {
    await sleep(200 + chance() * 200)
    await bridge.end('SIGKILL')
    bridge = await stage.bridge()
    await keepalive.says('link open', round + 1)
    await until('it storms', async () => sent.length > round * 100)
  }
  stop.abort()
  const tookMs = performance.now() - began
  await Promise.all(senders)
  const missing = async (): Promise<number[]> => {
    const here = new Set(await first.inbox.list('new'))
    return sent.filter((id) => !here.has(id))
  }
  await until('all is in the inbox', async () => (await missing()).length === 0)
  const fetched = keepalive.eventsOf('messages missing from the stream fetched')
  context.diagnostic(`${sent.length} messages, ${fetched.length} fetches, ${tookMs.toFixed(0)} ms`)
  assert.deepEqual(overtaken(join(first.state, 'inbox', 'new')), [])
  if (tookMs < QUICK_MS) assert.deepEqual(fetched, [])
})

/** Ids of the messages in a folder that came long after a later one of their session. */
function overtaken(folder: string): number[] {
  const earliestLater = new Map<string, number>()
  const found: number[] = []
  const arrivals = readdirSync(folder).map((name) => {
    const { id, to } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as { id: number; to: string }
    return { id, to, at: statSync(join(folder, name)).mtimeMs }
  })
  for (const { id, to, at } of arrivals.sort((x, y) => y.id - x.id)) {
    const later = earliestLater.get(to) ?? Number.POSITIVE_INFINITY
    if (at - later > OVERTAKEN_MS) found.push(id)
    earliestLater.set(to, Math.min(at, later))
  }
  return found
}
