/** One host under a clock that stands still until told, before a bridge in memory that can be made to misbehave. */
import type { Beat } from '#fleet/beat.ts'
import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import { conversationOf, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import { Health } from '#runtime/health.ts'
import { recordingLog } from '#runtime/log.ts'
import { HintChannel } from '#store/hint-channel.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Keyring } from '#store/remote/keyring.ts'
import type { RemoteStore } from '#store/remote/remote.ts'
import type { Store } from '#store/store.ts'
import { SessionManager, type SessionManagerConfig } from '../../services/keepalive/session-manager.ts'
import { ManualClock } from '../manual-clock.ts'
import { Dice } from '../simulation/chance.ts'
import { MemoryCredentials, MemoryInbox, MemoryOutbox } from './spool.ts'

const BRIDGE = 'http://bridge.test'
/** How long conversations live, milliseconds. */
export const LIFETIME_MS = 3 * 3_600_000
export const CONFIG: SessionManagerConfig = {
  host: 'host-1',
  beatMs: 5_000,
  beatPollingMs: 30_000,
  pollMs: 250,
  drainMs: 10_000,
}

/** What may go wrong with the bridge and the way to it. */
export interface Weather {
  /** Nothing gets through. */
  away: boolean
  /** Requests get through, answers do not: each is done, and called unknown. */
  mute: boolean
  /** Verbs that never answer. */
  readonly hangs: Set<string>
  /** Verbs that throw this. */
  readonly fails: Map<string, () => Error>
  means: RemoteStore['link']['means']
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }
type Verb = 'send' | 'report' | 'mark' | 'unacked' | 'prove' | 'conversations' | 'beat'

/** A bridge as a host has it: asks for the token, and has weather. */
export class Bridge {
  readonly store: Store
  readonly weather: Weather = { away: false, mute: false, hangs: new Set(), fails: new Map(), means: 'socket' }
  readonly streams = new Map<SessionId, number>()
  /** What the sockets of hosts are told of joins. */
  readonly refused = new HintChannel<SessionId>()
  readonly calls: { verb: string; session: SessionId | undefined; at: number }[] = []
  readonly #clock: ManualClock
  #gone = new AbortController()

  constructor(clock: ManualClock) {
    this.#clock = clock
    this.store = openMemoryStore({ clock })
  }

  /** All streams break off. */
  hangUp(): void {
    this.#gone.abort()
    this.#gone = new AbortController()
  }

  as(keyring: Keyring): RemoteStore {
    const { store, weather } = this
    const call = <T>(verb: Verb, session: SessionId | undefined, act: () => Promise<T>): Promise<T> =>
      this.#call(verb, session, keyring, act)
    const host: Partial<Writable<RemoteStore>> = {
      send: (from, key, draft) => call('send', from, () => store.send(from, key, draft)),
      report: (holder, report) => call('report', holder, () => store.report(holder, report)),
      mark: (reader, ids, mark) => call('mark', reader, () => store.mark(reader, ids, mark)),
      unacked: (reader, after, limit) =>
        call(limit === 1 ? 'prove' : 'unacked', reader, () => store.unacked(reader, after, limit)),
      conversations: () => call('conversations', keyring.sessions()[0], () => store.conversations()),
      beat: async (beats) => {
        for (const own of Map.groupBy(beats, ({ session }) => session).values()) {
          await call('beat', own[0]?.session, () => store.beat(own))
        }
      },
      // that a token is in force is told on the side, and nothing waits for it
      confirmToken: async () => undefined,
      credentialHints: (signal) => store.credentialHints(signal),
      refusedSessions: (signal) => this.refused.heard(signal),
      mail: (reader, after, signal) => this.#mail(reader, after, signal, keyring),
      [Symbol.asyncDispose]: async () => undefined,
    }
    Object.defineProperty(host, 'link', { get: () => ({ means: weather.means }) })
    return host as RemoteStore
  }

  async #call<T>(verb: Verb, session: SessionId | undefined, keyring: Keyring, act: () => Promise<T>): Promise<T> {
    this.calls.push({ verb, session, at: this.#clock.now() })
    const { weather } = this
    if (weather.hangs.has(verb)) return await new Promise(() => undefined)
    if (weather.away) throw new S2Error('unavailable', 'connect ECONNREFUSED')
    const failure = weather.fails.get(verb)
    if (failure !== undefined) throw failure()
    await this.#check(session, keyring)
    const answer = await act()
    if (weather.mute) throw new S2Error('unknown_outcome', 'no answer')
    return answer
  }

  async #check(session: SessionId | undefined, keyring: Keyring): Promise<void> {
    const token = session === undefined ? undefined : keyring.token(session)
    const valid = session === undefined ? [] : await this.store.tokens(session).catch(() => [])
    if (token === undefined || !valid.includes(token)) {
      throw new S2Error('unauthenticated', `the signature of ${session} is not valid`)
    }
  }

  /** As the distant store does it: silent while the bridge is away, and begins anew where it was. */
  async *#mail(
    reader: SessionId,
    after: number,
    signal: AbortSignal,
    keyring: Keyring,
  ): AsyncGenerator<readonly StoredMessage[]> {
    let cursor = after
    while (!signal.aborted) {
      const isWell =
        !this.weather.away &&
        (await this.#check(reader, keyring).then(
          () => true,
          () => false,
        ))
      if (isWell) {
        this.streams.set(reader, (this.streams.get(reader) ?? 0) + 1)
        const both = AbortSignal.any([signal, this.#gone.signal])
        for await (const batch of this.store.mail(reader, cursor, both)) {
          if (both.aborted) break
          cursor = batch.at(-1)?.id ?? cursor
          yield batch
        }
      }
      await this.#clock.sleep(1_000, signal).catch(() => undefined)
    }
  }
}

/** What a life does is felt by others only while it lasts. */
class Life {
  #isDead = false

  end(): void {
    this.#isDead = true
  }

  /** Its calls come to nothing once it has ended, and so do the answers that are under way. */
  mortal<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const value = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          if (this.#isDead && (name === 'credentialHints' || name === 'refusedSessions')) return silence()
          if (this.#isDead) return name === 'now' || name === 'wall' ? Reflect.apply(value, target, args) : NEVER
          const answer = Reflect.apply(value, target, args)
          return answer instanceof Promise ? this.#whileAlive(answer) : answer
        }
      },
    })
  }

  #whileAlive<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      answer.then(
        (value) => this.#isDead || resolve(value),
        (error) => this.#isDead || reject(error),
      )
    })
  }
}
const NEVER = new Promise<never>(() => undefined)

async function* silence(): AsyncGenerator<never> {
  yield await NEVER
}

export class Ground {
  readonly clock: ManualClock
  readonly bridges: Map<string, Bridge>
  readonly inbox = new MemoryInbox()
  readonly outbox = new MemoryOutbox()
  readonly credentials = new MemoryCredentials()
  readonly log = recordingLog()
  readonly chance: () => number
  readonly statuses: string[] = []
  /** Where the host runs; a copy of it runs elsewhere. */
  place: string | undefined
  /** How often the host has left word for whoever asks git. */
  hints = 0
  health = new Health()
  host: SessionManager | undefined
  #life = new Life()
  #lives = 0

  /** `beside`: another host of the same fleet. */
  constructor(seed = 1, beside?: Ground) {
    this.chance = new Dice(`${seed}`).next
    this.clock = beside?.clock ?? new ManualClock()
    this.bridges = beside?.bridges ?? new Map([[BRIDGE, new Bridge(this.clock)]])
  }

  get bridge(): Bridge {
    return this.bridges.get(BRIDGE) as Bridge
  }

  get store(): Store {
    return this.bridge.store
  }

  get weather(): Weather {
    return this.bridge.weather
  }

  /** A conversation whose end `b` is this host's; its credential is in the folder unless kept. */
  async channel(worker = 's2-worker-1', { url = BRIDGE, lifetimeMs = LIFETIME_MS, kept = false } = {}) {
    const bridge = this.bridges.get(url) ?? new Bridge(this.clock)
    this.bridges.set(url, bridge)
    const opened = await bridge.store.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'orchestrator', b: worker },
      lifetimeMs,
    })
    const a = sessionId(opened.id, 'a')
    const b = sessionId(opened.id, 'b')
    const credential: Credential = {
      session: b,
      token: opened.tokens.b,
      agent: worker,
      role: 'tests',
      bridgeUrl: url,
      createdAt: opened.createdAt,
      expiresAt: opened.expiresAt,
    }
    if (!kept) this.credentials.files.set(b, credential)
    let sent = 0
    const tell = (text: string) => {
      sent += 1
      return bridge.store.send(a, `lead-${sent}`, { text })
    }
    return { opened: opened.id, a, b, credential, tell }
  }

  start(config: Partial<SessionManagerConfig> = {}): SessionManager {
    const life = new Life()
    this.#life = life
    this.#lives += 1
    this.health = new Health()
    this.health.enter('ready')
    this.host = new SessionManager(
      { ...CONFIG, ...config },
      {
        open: (url, keyring) => {
          const bridge = this.bridges.get(url)
          if (bridge === undefined) throw new Error(`there is no bridge at ${url}`)
          return life.mortal(bridge.as(keyring))
        },
        inbox: life.mortal(this.inbox),
        outbox: life.mortal(this.outbox),
        credentials: life.mortal(this.credentials),
        incarnation: `${this.place ?? ''}life-${this.#lives}`,
        place: this.place,
        clock: life.mortal(this.clock),
        chance: this.chance,
        log: this.log,
        health: this.health,
        hintCredentials: async () => {
          this.hints += 1
        },
        round: (status) => this.statuses.push(status),
      },
    )
    return this.host
  }

  /** kill -9. */
  kill(): void {
    this.#life.end()
    this.host = undefined
  }

  /** SIGTERM: carries what is in hand; the clock goes on meanwhile. */
  async stop(): Promise<void> {
    const { host } = this
    if (host === undefined) return
    this.host = undefined
    let isOver = false
    const stopping = host
      .drain()
      .then(() => host[Symbol.asyncDispose]())
      .finally(() => {
        isOver = true
      })
    while (!isOver) await this.clock.advance(10)
    await stopping
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms)
  }

  get troubles(): Record<string, string> {
    return this.health.report().troubles
  }

  said(event: string): number {
    return this.log.records.filter((record) => record.event === event).length
  }

  metric(name: string): number {
    return Number(new RegExp(`^s2_keepalive_${name} (\\d+)$`, 'm').exec(this.health.metrics.text())?.[1])
  }

  /** Texts to a session that its bridge counts as received, and all the others. */
  async deliveryOf(reader: SessionId): Promise<Record<string, string>> {
    const found: Record<string, string> = {}
    for (const { text, delivery } of await this.store.unacked(reader, 0, 10_000)) found[text] = delivery
    return found
  }

  async pulse(session: SessionId): Promise<Beat | undefined> {
    return (await this.store.pulses(0)).pulses.find((each) => each.session === session)
  }

  /** What the lead has got from a session, in order. */
  async heardFrom(session: SessionId): Promise<string[]> {
    const lead = sessionId(conversationOf(session), sideOf(session) === 'b' ? 'a' : 'b')
    return (await this.store.unacked(lead, 0, 10_000)).map(({ text }) => text)
  }
}
