import { type Code, S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import { conversationOf, type SessionId } from '#fleet/session-id.ts'
import type { Report } from '#fleet/task.ts'
import { Pauses } from '#runtime/backoff.ts'
import { recordingLog } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Keyring } from '#store/remote/keyring.ts'
import type { RemoteStore } from '#store/remote/remote.ts'
import type { Store } from '#store/store.ts'
import { ConversationRenewal } from '../../services/bridge/conversation-renewal.ts'
import type { Dice } from './chance.ts'
import type { Life, Machine, Timeline } from './clock.ts'
import type { Fault, Tally } from './faults.ts'

/** How often each thing goes wrong by itself, of 1; episodes come on top. */
export interface Weather {
  readonly lost: number
  readonly repeated: number
  readonly delayed: number
  readonly streamBreaks: number
  readonly storeRefuses: number
  readonly outcomeUnknown: number
  readonly hintLost: number
  readonly diskSlow: number
  readonly diskRefuses: number
}

export const CALM: Weather = {
  lost: 0,
  repeated: 0,
  delayed: 0,
  streamBreaks: 0,
  storeRefuses: 0,
  outcomeUnknown: 0,
  hintLost: 0,
  diskSlow: 0,
  diskRefuses: 0,
}

/** What everything in one world shares. */
export interface Surroundings {
  readonly timeline: Timeline
  readonly dice: Dice
  readonly tally: Tally
  /** Changes while the world runs. */
  weather: Weather
}

/** How long a request waits for its answer. */
const CALL_MS = 10_000
/** Requests of which the rules know when they came to nothing; and refusals that show that one came through. */
const FOLLOWED: Readonly<Partial<Record<Verb, 'tasks' | 'credentials'>>> = {
  leaseTask: 'tasks',
  report: 'tasks',
  publishedCredential: 'credentials',
}
const ANSWERS: ReadonlySet<Code> = new Set<Code>(['invalid', 'not_found'])
/** After how long a broken stream is noticed that does not say so. */
const PROBE_MS = 10_000

/** The way between one host and the bridge. */
export class Link {
  readonly #around: Surroundings
  readonly #machine: Machine
  /** Why nothing gets through, in each direction; null while it does. */
  #cut: { out: Fault | null; in: Fault | null } = { out: null, in: null }
  /** What was lost by the present cut. */
  #lost = 0
  /** When requests about tasks, and for a credential, came to nothing, whatever kept them from it. */
  readonly failedAt: Readonly<Record<'tasks' | 'credentials', number[]>> = { tasks: [], credentials: [] }
  /** Told of every beat that sets out, and whether it was lost though the way is open. */
  onBeat: (isLost: boolean) => void = () => undefined

  constructor(around: Surroundings, machine: Machine) {
    this.#around = around
    this.#machine = machine
  }

  cut(fault: Fault): void {
    this.#lost = 0
    this.#cut = {
      out: fault === 'partition inward' ? null : fault,
      in: fault === 'partition outward' ? null : fault,
    }
  }

  /** Whether the cut has kept anything back yet. */
  get isFelt(): boolean {
    return this.#lost > 0
  }

  heal(): void {
    this.#cut = { out: null, in: null }
  }

  isOpen(way: 'out' | 'in'): boolean {
    return this.#cut[way] === null && this.#machine.asleepMs <= PROBE_MS
  }

  /** How long a packet takes; null when it never arrives. */
  travelMs(way: 'out' | 'in'): number | null {
    const { dice, tally, weather } = this.#around
    const cut = this.#cut[way]
    if (cut !== null) {
      this.#lost += 1
      tally.fired(cut)
      return null
    }
    if (this.#machine.asleepMs > PROBE_MS) return null // a short sleep is got over: packets are sent again
    if (dice.chance(weather.lost)) {
      tally.fired(way === 'out' ? 'request lost' : 'reply lost')
      return null
    }
    if (!dice.chance(weather.delayed)) return 1 + dice.wait(15)
    tally.fired('request delayed')
    return 500 + dice.wait(4_000)
  }
}

export type Verb = Exclude<keyof Store, symbol | 'mail' | 'traffic' | 'credentialHints'>
/** What of a store cannot be asked and answered. */
export type Streams = Pick<Store, 'mail' | 'traffic' | 'credentialHints' | typeof Symbol.asyncDispose>
type Ask = (verb: Verb, args: readonly unknown[]) => Promise<unknown>
type Outcome = { readonly answer: unknown } | { readonly error: unknown }

/** A store whose plain verbs all go one way. */
export function storeOf(ask: Ask, streams: Streams): Store {
  const made: Partial<Record<string | symbol, unknown>> = {
    mail: (...args: Parameters<Store['mail']>) => streams.mail(...args),
    traffic: (...args: Parameters<Store['traffic']>) => streams.traffic(...args),
    credentialHints: (signal: AbortSignal) => streams.credentialHints(signal),
    [Symbol.asyncDispose]: () => streams[Symbol.asyncDispose](),
  }
  return new Proxy(made as unknown as Store, {
    get: (_, name) => {
      if (typeof name !== 'symbol' && name !== 'then') made[name] ??= (...args: unknown[]) => ask(name as Verb, args)
      return made[name]
    },
  })
}

/** Puts a verb to a store by its name. */
export function put(store: Store, verb: Verb, args: readonly unknown[]): Promise<unknown> {
  return (store[verb] as (...args: readonly unknown[]) => Promise<unknown>)(...args)
}

const READS: ReadonlySet<Verb> = new Set<Verb>([
  'conversations',
  'listAgents',
  'tokens',
  'workers',
  'publishedCredential',
  'joinRequests',
  'joinOutcome',
  'unacked',
  'messageStatus',
  'deadLetters',
  'pulses',
  'tasks',
  'task',
  'conditions',
  'evidence',
  'reservations',
  'incidents',
  'verdicts',
  'lastStatus',
  'audit',
  'auditHead',
])

/** Asks a store that may refuse before it acts, or not tell how it ended after. Mostly it does neither, and that costs nothing. */
function askDoubtful(store: Store, verb: Verb, args: readonly unknown[], around: Surroundings): Promise<unknown> {
  const { dice, tally, weather } = around
  if (dice.chance(weather.storeRefuses)) {
    tally.fired('store refuses')
    return Promise.reject(new S2Error('unavailable', 'the disk is busy'))
  }
  const answer = put(store, verb, args)
  if (READS.has(verb) || !dice.chance(weather.outcomeUnknown)) return answer
  return answer.then(() => {
    tally.fired('outcome unknown')
    throw new S2Error('unknown_outcome', 'the commit met an error')
  })
}

/** How often a disk lets a program wait, and how long on average. */
const SLOW = 0.06
const SLOW_MS = 30

/** The store as a program on its own machine has it: near, now and then slow, and never surer than the disk. */
export function openNear(store: Store, life: Life, around: Surroundings): Store {
  const { dice } = around
  const askSlowly = async (verb: Verb, args: readonly unknown[]): Promise<unknown> => {
    await life.pause(dice.wait(SLOW_MS))
    const answer = await askDoubtful(store, verb, args, around)
    await life.pause(dice.wait(SLOW_MS))
    return answer
  }
  const ask: Ask = (verb, args) => {
    return dice.chance(SLOW) ? askSlowly(verb, args) : askDoubtful(store, verb, args, around)
  }
  return storeOf(ask, store)
}

/** How soon a failed round of renewals is tried again. */
const RENEWAL_RETRY_MS = 5_000

/** The program that stands before the store. While it is dead or stopped nobody gets through, and nobody collects beats. */
export class Bridge {
  readonly #store: Store
  readonly #around: Surroundings
  readonly #lifetimeMs: number
  readonly #streams = new Set<AbortController>()
  readonly #hinted = new Set<(conversations: readonly string[]) => void>()
  #life: Life
  #tendedAt = 0
  /** Told of every session that asks for something, and whether the bridge believes that it is the one. */
  onAsked: (session: SessionId, isBelieved: boolean) => void = () => undefined

  constructor(store: Store, life: Life, around: Surroundings, lifetimeMs: number) {
    this.#store = store
    this.#around = around
    this.#lifetimeMs = lifetimeMs
    this.#life = life
    this.#begin(life)
  }

  get life(): Life {
    return this.#life
  }

  /** Nobody at all is there to take a request. */
  get isAsleep(): boolean {
    return this.#life.machine.isSuspended
  }

  /** It takes no request now, or answers none. */
  get isAway(): boolean {
    return this.#life.isDead || this.#life.isStopped || this.isAsleep
  }

  /** For how long nobody has collected beats. */
  get idleMs(): number {
    return this.#around.timeline.now - this.#tendedAt
  }

  kill(): void {
    this.#life.kill()
    for (const stream of this.#streams) stream.abort()
  }

  start(life: Life): void {
    this.#life = life
    this.#begin(life)
  }

  /** Tells of the conversations that are hinted at. */
  onHint(heard: (conversations: readonly string[]) => void): Disposable {
    this.#hinted.add(heard)
    return { [Symbol.dispose]: () => this.#hinted.delete(heard) }
  }

  /** Takes a request in; the reply may never come. */
  serve(verb: Verb, args: readonly unknown[], keyring: Keyring, reply: (outcome: Outcome) => void): void {
    if (this.#life.isDead) {
      reply({ error: new S2Error('unavailable', 'nobody listens there') })
      return
    }
    this.#life.deliver(() => void this.#perform(verb, args, keyring).then(reply))
  }

  async #perform(verb: Verb, args: readonly unknown[], keyring: Keyring): Promise<Outcome> {
    try {
      const speakers = speakersOf(verb, args, keyring)
      for (const session of speakers) await this.#check(session, keyring)
      if (verb === 'report') checkForm(args[1] as Report)
      const answer = await askDoubtful(this.#store, verb, args, this.#around)
      return { answer }
    } catch (error) {
      return { error }
    }
  }

  /** Lets a reader subscribe to its mail: each message is pushed as it comes, until the signal aborts or the bridge dies. */
  subscribe(
    reader: SessionId,
    after: number,
    keyring: Keyring,
    over: AbortSignal,
    push: (message: StoredMessage) => void,
  ): Promise<'over' | Code> {
    const dying = new AbortController()
    this.#streams.add(dying)
    over.addEventListener('abort', () => dying.abort(), { once: true })
    const life = this.#life
    const run = async (): Promise<'over' | Code> => {
      try {
        await this.#check(reader, keyring)
        for await (const batch of this.#store.mail(reader, after, dying.signal)) {
          for (const message of batch) life.deliver(() => push(message))
        }
        return 'over'
      } catch (error) {
        return error instanceof S2Error ? error.code : 'internal'
      } finally {
        this.#streams.delete(dying)
      }
    }
    return run()
  }

  /** All refusals read the same, whether the session is unknown, ended or another's. */
  async #check(session: SessionId, keyring: Keyring): Promise<void> {
    const tokens = await this.#store.tokens(session).catch((): readonly string[] => [])
    const isBelieved = tokens.includes(keyring.token(session) ?? '')
    this.onAsked(session, isBelieved)
    if (isBelieved) return
    throw new S2Error('unauthenticated', `the signature of ${session} is wrong`)
  }

  #begin(life: Life): void {
    const { clock, unending } = life
    const store = openNear(this.#store, life, this.#around)
    const renewal = new ConversationRenewal(this.#lifetimeMs, { store, clock, log: recordingLog() })
    new Loop({ clock, signal: unending, step: () => renewal.round(), onError: () => RENEWAL_RETRY_MS })
    void this.#tend(life)
    void this.#passHintsOn(life)
  }

  async #tend(life: Life): Promise<void> {
    for (;;) {
      const waitMs = await this.#store.tend()
      this.#tendedAt = this.#around.timeline.now
      await life.clock.sleep(waitMs)
    }
  }

  async #passHintsOn(life: Life): Promise<void> {
    const dying = new AbortController()
    this.#streams.add(dying)
    for await (const conversations of this.#store.credentialHints(dying.signal)) {
      life.deliver(() => {
        for (const heard of this.#hinted) heard(conversations)
      })
    }
    this.#streams.delete(dying)
  }
}

/** As the bridge's own reader of JSON refuses it. */
function checkForm({ progress, result }: Report): void {
  if (`${progress}${result?.tail}`.isWellFormed()) return
  throw new S2Error('invalid', 'the request has half a character in it')
}

/** What anybody may ask for: what comes back is sealed and signed. */
const UNSIGNED: ReadonlySet<Verb> = new Set<Verb>(['publishedCredential'])

/** Whose signatures a request bears. */
function speakersOf(verb: Verb, args: readonly unknown[], keyring: Keyring): readonly SessionId[] {
  if (verb === 'beat') return (args[0] as readonly { session: SessionId }[]).map(({ session }) => session)
  if (['send', 'unacked', 'mark', 'leaseTask', 'report', 'confirmToken', 'noteCondition'].includes(verb))
    return [args[0] as SessionId]
  if (UNSIGNED.has(verb)) return []
  return keyring.sessions().slice(0, 1)
}

export interface WireParts {
  readonly life: Life
  readonly link: Link
  readonly bridge: Bridge
  readonly keyring: Keyring
  readonly around: Surroundings
}

/** A distant store as one program has it: everything it asks crosses a link that does what links do. */
export function openWire(parts: WireParts): RemoteStore {
  const wire = new Wire(parts)
  const store = storeOf((verb, args) => wire.ask(verb, args), {
    mail: (reader, after, signal) => wire.mail(reader, after, signal),
    traffic: () => {
      throw new S2Error('forbidden', 'not from here')
    },
    credentialHints: (signal) => wire.hints(signal),
    [Symbol.asyncDispose]: async () => wire.close(),
  })
  const host: Pick<RemoteStore, 'link' | 'refusedSessions'> = {
    link: { means: 'socket' },
    refusedSessions: async function* none() {}, // beats find it out: they are seconds apart
  }
  return new Proxy(store as RemoteStore, { get: (_, name) => Reflect.get(name in host ? host : store, name) })
}

class Wire {
  readonly #parts: WireParts
  readonly #closed = new AbortController()

  constructor(parts: WireParts) {
    this.#parts = parts
  }

  close(): void {
    this.#closed.abort()
  }

  ask(verb: Verb, args: readonly unknown[]): Promise<unknown> {
    const { link, around } = this.#parts
    const answer = this.#ask(verb, args)
    const of = FOLLOWED[verb]
    answer.catch((error: { readonly code: Code }) => {
      if (of !== undefined && !ANSWERS.has(error.code)) link.failedAt[of].push(around.timeline.now)
    })
    return answer
  }

  #ask(verb: Verb, args: readonly unknown[]): Promise<unknown> {
    const { life, link, bridge, keyring, around } = this.#parts
    const { timeline, dice, tally, weather } = around
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()

    const deadline = timeline.now + CALL_MS
    const giveUp = (): void => {
      timeline.after(deadline - timeline.now, () => life.deliver(() => reject(lateError(verb))))
    }
    const reply = (outcome: Outcome): void => {
      const backMs = link.travelMs('in')
      const end = (): void => ('answer' in outcome ? resolve(outcome.answer) : reject(outcome.error))
      if (backMs === null) giveUp()
      else timeline.after(backMs, () => life.deliver(end))
    }
    const thereMs = link.travelMs('out')
    if (verb === 'beat') link.onBeat(thereMs === null && link.isOpen('out'))
    if (thereMs === null) {
      giveUp()
      return promise
    }
    if (thereMs > CALL_MS / 20) giveUp()
    timeline.after(thereMs, () => {
      if (bridge.life.isStopped || bridge.isAsleep) giveUp()
      if (!bridge.isAsleep) bridge.serve(verb, args, keyring, reply)
    })
    if (dice.chance(weather.repeated)) {
      timeline.after(thereMs + dice.wait(5_000), () => {
        if (bridge.isAsleep) return
        tally.fired('request repeated')
        bridge.serve(verb, args, keyring, () => undefined)
      })
    }
    return promise
  }

  /** One stream after another, each from where the last one ended: a distant store survives the bridge's absence. */
  async *mail(reader: SessionId, after: number, signal: AbortSignal): AsyncGenerator<readonly StoredMessage[]> {
    const { life, around } = this.#parts
    const over = AbortSignal.any([signal, this.#closed.signal])
    const pauses = new Pauses(RECONNECT, around.dice.next)
    let cursor = after
    while (!over.aborted) {
      const stream = new Stream(reader, cursor, this.#parts, over)
      for (let message = await stream.next(); message !== null; message = await stream.next()) {
        cursor = message.id
        pauses.succeeded()
        yield [message]
      }
      if (stream.refusal !== null && !over.aborted) throw new S2Error(stream.refusal, `${reader} may not listen`)
      await pauses.wait(life.clock, over)
    }
  }

  /** The hints that are for a session of this host, and get through. */
  async *hints(signal: AbortSignal): AsyncGenerator<readonly string[]> {
    const { life, link, bridge, keyring, around } = this.#parts
    const over = AbortSignal.any([signal, this.#closed.signal])
    let news = Promise.withResolvers<void>()
    let heard: string[] = []
    using _ear = bridge.onHint((conversations) => {
      const own = keyring.sessions().map(conversationOf)
      const ms = own.some((each) => conversations.includes(each)) ? link.travelMs('in') : null
      if (ms === null) return
      around.timeline.after(ms, () => {
        life.deliver(() => {
          heard.push(...conversations)
          news.resolve()
        })
      })
    })
    over.addEventListener('abort', () => news.resolve(), { once: true })
    while (!over.aborted) {
      await news.promise
      news = Promise.withResolvers()
      if (heard.length > 0) yield heard
      heard = []
    }
  }
}

/** The pauses between two tries to open a stream. */
const RECONNECT = { firstMs: 1_000, mostMs: 5_000, leastMs: 100 }

function lateError(verb: Verb): S2Error {
  return new S2Error(READS.has(verb) ? 'unavailable' : 'unknown_outcome', `no answer within ${CALL_MS} ms`)
}

/** One socket's worth of mail: in order, and when it breaks, broken. */
class Stream {
  readonly #parts: WireParts
  readonly #over = new AbortController()
  readonly #messages: StoredMessage[] = []
  #arrivesAt = 0
  #isBroken = false
  #isOver = false
  #wake = Promise.withResolvers<void>()
  /** Why the bridge would not let it listen. */
  refusal: Code | null = null

  constructor(reader: SessionId, after: number, parts: WireParts, signal: AbortSignal) {
    this.#parts = parts
    const end = (): void => this.#end()
    signal.addEventListener('abort', end, { once: true })
    this.#over.signal.addEventListener('abort', () => signal.removeEventListener('abort', end))
    this.#open(reader, after)
  }

  /** Null when it is over. */
  async next(): Promise<StoredMessage | null> {
    while (this.#messages.length === 0 && !this.#isOver) await this.#wake.promise
    return this.#messages.shift() ?? null
  }

  #open(reader: SessionId, after: number): void {
    const { life, link, bridge, keyring, around } = this.#parts
    const { timeline } = around
    const thereMs = link.travelMs('out')
    if (thereMs === null) {
      timeline.after(PROBE_MS, () => life.deliver(() => this.#end()))
      return
    }
    timeline.after(thereMs, () => {
      if (this.#over.signal.aborted) return
      if (bridge.isAsleep) {
        timeline.after(PROBE_MS, () => life.deliver(() => this.#end()))
        return
      }
      if (bridge.life.isDead) {
        this.#arrive(() => this.#end())
        return
      }
      bridge.life.deliver(() => {
        const ended = bridge.subscribe(reader, after, keyring, this.#over.signal, (message) => this.#send(message))
        void ended.then((how) => {
          this.#arrive(() => {
            if (how !== 'over') this.refusal = how
            this.#end()
          })
        })
      })
    })
  }

  #send(message: StoredMessage): void {
    const { dice, tally, weather } = this.#parts.around
    if (this.#isBroken || this.#over.signal.aborted) return
    if (dice.chance(weather.streamBreaks)) {
      tally.fired('stream broken')
      this.#break()
    } else this.#arrive(() => this.#take(message))
  }

  #take(message: StoredMessage): void {
    if (this.#isOver) return
    this.#messages.push(message)
    this.#ring()
  }

  /** Nothing overtakes on a stream; what cannot come through breaks it, and the reader notices by and by. */
  #arrive(act: () => void): void {
    const { life, link, around } = this.#parts
    if (this.#isBroken) return
    const { timeline } = around
    const ms = link.isOpen('in') ? 1 + around.dice.wait(10) : link.travelMs('in')
    if (ms === null) {
      this.#break()
      return
    }
    this.#arrivesAt = Math.max(this.#arrivesAt, timeline.now + ms)
    timeline.after(this.#arrivesAt - timeline.now, () => life.deliver(act))
  }

  #break(): void {
    const { life, around } = this.#parts
    this.#isBroken = true
    around.timeline.after(PROBE_MS, () => life.deliver(() => this.#end()))
  }

  #end(): void {
    this.#isOver = true
    this.#over.abort()
    this.#ring()
  }

  #ring(): void {
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }
}
