import type { Beat } from '#fleet/beat.ts'
import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { AdaptiveRest } from '#runtime/adaptive-rest.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Health } from '#runtime/health.ts'
import type { Log } from '#runtime/log.ts'
import type { Metrics } from '#runtime/metrics.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { speakerOf } from '#spool/outbox.ts'
import type { Keyring } from '#store/remote/remote.ts'
import { AckTracker } from './ack-tracker.ts'
import { ActiveCredentials } from './active-credentials.ts'
import { BridgeConnection } from './bridge-connection.ts'
import { DirectoryChange } from './directory-change.ts'
import { classifyError, isLockedOut } from './error-class.ts'
import type { CredentialsPort, InboxPort, LinkedStore, OutboxPort } from './ports.ts'
import { Session, type SessionCounters } from './session.ts'

/** How a host carries. Times in milliseconds. */
export interface SessionManagerConfig {
  /** What this host is called in beats. */
  readonly host: string
  readonly beatMs: number
  /** The same where only plain requests get through. */
  readonly beatPollingMs: number
  /** How often folders are looked at even when nothing was heard. */
  readonly pollMs: number
  /** How long conversations live from a renewal on. */
  readonly lifetimeMs: number
  /** How long it may take to carry what is in hand when it is stopped. */
  readonly drainMs: number
}

export type Spool = 'inbox' | 'outbox' | 'credentials'

export interface SessionManagerParts {
  /** Opens the bridge at an address; what it does is signed by the keyring. */
  open(url: string, keyring: Keyring): LinkedStore
  readonly inbox: InboxPort
  readonly outbox: OutboxPort
  readonly credentials: CredentialsPort
  /** One life of this program, named as no other one is. */
  readonly incarnation: string
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly health: Pick<Health, 'trouble' | 'metrics'>
  /** Leaves word for whoever asks git that there may be new credentials. */
  hintCredentials(): Promise<void>
  /** A round of real work is finished. */
  round(status: string): void
  /** Hints that a folder has changed, until disposed. Left out: nothing but the polls tells. */
  hear?(spool: Spool, heard: () => void): Disposable
}

/** Credentials change seldom, and are read whole at every look. */
const KEYS_MS = 2_000
/** How long the bridge may take to say whether it knows a new credential. */
const PROOF_MS = 5_000
/** How often a session that the bridge refuses says that it is still there. */
const QUIET_MS = 30_000
const ROUND_LEAST_MS = 1_000
const BEATS_STUCK_MS = 60_000
/** A look is followed by a rest of so many times its length, however loud the hints are, and of no more than that. */
const REST_FACTOR = 4
const REST_MOST_MS = 5_000
/** What is in hand gets this part of the drain's time; the rest is for letting go. */
const DRAIN_SHARE = 0.8
const SETTLE_MS = 10

/** All sessions of one host: who speaks over which line, what lies in the spool for whom, and what people are told of it. */
export class SessionManager implements AsyncDisposable {
  readonly #config: SessionManagerConfig
  readonly #parts: SessionManagerParts
  readonly #figures: ReturnType<typeof figuresOf>
  readonly #troubles: TroubleLog
  readonly #keys: ActiveCredentials
  readonly #shelves: AckTracker
  readonly #trayGlance: DirectoryChange
  readonly #members = new Map<SessionId, Session>()
  readonly #counts = new Map<SessionId, SessionCounters>()
  readonly #lines = new Map<string, BridgeConnection>()
  /** Whose the items of the outbox are, by name. */
  #speakers: ReadonlyMap<string, SessionId> = new Map()
  #roundAt = Number.NEGATIVE_INFINITY
  /** Aborts when nothing new is taken any more. */
  readonly #taking = new AbortController()
  readonly #over = new AbortController()
  readonly #hints = new DisposableStack()
  readonly #looks: Readonly<Record<Spool, RetryLoop>>
  /** What has left and is still finishing a request. */
  readonly #partings = new Set<Promise<void>>()

  constructor(config: SessionManagerConfig, parts: SessionManagerParts) {
    this.#config = config
    this.#parts = parts
    const { clock, chance, log, health, credentials, inbox, outbox } = parts
    this.#figures = figuresOf(health.metrics)
    health.metrics.gauge('s2_keepalive_outbox', 'Items that wait in the outbox.', () => this.#speakers.size)
    health.metrics.gauge('s2_keepalive_sessions', 'Sessions in force.', () => this.#members.size)
    this.#troubles = new TroubleLog({ log, health })
    this.#shelves = new AckTracker({ inbox, clock, log, reader: (session) => this.#members.get(session) })
    this.#trayGlance = new DirectoryChange(clock, outbox.version && (() => outbox.version?.() ?? ''))
    this.#keys = new ActiveCredentials({
      wallet: credentials,
      clock,
      chance,
      log,
      troubles: this.#troubles,
      prove: (credential) => this.#prove(credential),
      onJoin: (credential) => this.#join(credential),
      onChange: (credential, former) => this.#change(credential, former),
      onLeave: (session) => this.#leave(session),
    })
    this.#looks = {
      inbox: this.#repeat('inbox', this.#over.signal, () => this.#lookIntoInbox()),
      outbox: this.#repeat('outbox', this.#over.signal, () => this.#lookIntoOutbox()),
      credentials: this.#repeat('credentials', this.#taking.signal, () => this.#lookIntoCredentials()),
    }
  }

  /** Carries what is in hand within the time, and tells what is left: it lies in the spool and goes on in the next life. */
  async drain(): Promise<void> {
    const { clock, log } = this.#parts
    const until = clock.now() + this.#config.drainMs * DRAIN_SHARE
    this.#taking.abort()
    await this.#lastLook()
    const members = [...this.#members.values()]
    while (members.some(({ isBusy }) => isBusy) && clock.now() < until) await clock.sleep(SETTLE_MS)
    await this.#lastLook()
    const receipts = members.reduce((sum, { untold }) => sum + untold, 0)
    if (receipts + this.#speakers.size === 0) log.info('nothing is left behind')
    else log.warn('left for the next life', { outbox: this.#speakers.size, receipts })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#taking.abort()
    this.#over.abort()
    this.#hints.dispose()
    for (const session of [...this.#members.keys()]) this.#leave(session)
    await Promise.all(Object.values(this.#looks).map(({ done }) => done))
    await Promise.all(this.#partings)
  }

  // The spool

  /** Looks into a folder now and then, and when something was heard there. */
  #repeat(spool: Spool, signal: AbortSignal, look: () => Promise<number>): RetryLoop {
    const { clock, chance, hear } = this.#parts
    const cost = new AdaptiveRest(REST_FACTOR)
    let restUntil = Number.NEGATIVE_INFINITY
    const errand = new RetryLoop({
      clock,
      chance,
      signal,
      step: async () => {
        const began = clock.now()
        if (began < restUntil) return restUntil - began
        const pauseMs = await look()
        cost.note(clock.now() - began)
        const restMs = cost.restMs(REST_MOST_MS)
        restUntil = clock.now() + restMs
        return Math.max(pauseMs, restMs)
      },
      onTrouble: (error) => {
        if (spool === 'outbox') this.#trayGlance.reset()
        this.#troubles.threw(spool, error)
      },
      onWell: () => this.#troubles.over(spool),
    })
    const hint = hear?.(spool, () => errand.nudge())
    if (hint !== undefined) this.#hints.use(hint)
    return errand
  }

  async #lookIntoCredentials(): Promise<number> {
    await this.#keys.look()
    return KEYS_MS
  }

  async #lookIntoInbox(): Promise<number> {
    await this.#shelves.look()
    this.#sayRound()
    return this.#config.pollMs
  }

  async #lookIntoOutbox(): Promise<number> {
    const { outbox } = this.#parts
    if (!this.#trayGlance.mayHaveChanged()) return this.#config.pollMs
    const speakers = new Map<string, SessionId>()
    const waiting = new Map<SessionId, string[]>()
    for (const name of await outbox.names()) {
      const speaker = this.#speakers.get(name) ?? (await this.#speakerOf(name))
      if (speaker === null) continue
      speakers.set(name, speaker)
      const own = waiting.get(speaker)
      if (own === undefined) waiting.set(speaker, [name])
      else own.push(name)
    }
    this.#speakers = speakers
    for (const [session, member] of this.#members) member.wait(waiting.get(session) ?? [])
    return this.#config.pollMs
  }

  async #speakerOf(name: string): Promise<SessionId | null> {
    const item = await this.#parts.outbox.read(name)
    return item === null ? null : speakerOf(item)
  }

  async #lastLook(): Promise<void> {
    this.#shelves.lookAtAll()
    this.#trayGlance.reset()
    try {
      await this.#shelves.look()
      await this.#lookIntoOutbox()
    } catch (error) {
      this.#troubles.threw('spool', error)
    }
  }

  // Sessions come, change and go

  async #prove({ session, token, bridgeUrl, bridgeCa }: Credential): Promise<void> {
    const keyring = {
      token: (of: SessionId) => (of === session ? token : undefined),
      sessions: () => [session],
      authority: () => bridgeCa,
    }
    const { clock, open } = this.#parts
    await using store = open(bridgeUrl, keyring)
    const over = new AbortController()
    const late = clock.sleep(PROOF_MS, AbortSignal.any([this.#taking.signal, over.signal])).catch(() => undefined)
    const proven = store.unacked(session, 0, 1).then(() => true)
    try {
      const answer = await Promise.race([proven, late])
      if (answer !== true) throw new S2Error('unavailable', `the bridge has not answered within ${PROOF_MS} ms`)
    } finally {
      over.abort()
      proven.catch(() => undefined)
    }
  }

  #join(credential: Credential): void {
    const { session, bridgeUrl, agent } = credential
    const counts = this.#counts.get(session) ?? { beats: 0, work: 0 }
    this.#counts.set(session, counts)
    const connection = this.#lines.get(bridgeUrl) ?? this.#openLine(bridgeUrl)
    this.#members.set(session, this.#memberOf(credential, connection, counts))
    this.#parts.log.info('session joined', { session, agent, bridge: bridgeUrl })
    connection.beatNow()
    this.#shelves.lookAtAll()
    this.#looks.inbox.nudge()
    this.#trayGlance.reset()
    this.#looks.outbox.nudge()
  }

  #change(credential: Credential, former: Credential): void {
    const { session, bridgeUrl } = credential
    if (bridgeUrl !== former.bridgeUrl) {
      this.#leave(session)
      this.#join(credential)
      return
    }
    this.#troubles.over(topicOf(session))
    this.#members.get(session)?.retry()
    this.#lines.get(bridgeUrl)?.beatNow()
  }

  #leave(session: SessionId): void {
    const member = this.#members.get(session)
    this.#members.delete(session)
    this.#troubles.over(topicOf(session))
    if (member !== undefined) this.#part(member)
    for (const [url, connection] of this.#lines) {
      if (this.#on(url).length > 0) continue
      this.#lines.delete(url)
      this.#part(connection)
    }
  }

  /** Lets go of something without waiting for what it has under way. */
  #part(leaving: AsyncDisposable): void {
    const { log } = this.#parts
    const parting = Promise.resolve(leaving[Symbol.asyncDispose]())
      .catch((error) => log.error('letting go failed', { error }))
      .finally(() => this.#partings.delete(parting))
    this.#partings.add(parting)
  }

  #on(url: string): Session[] {
    return [...this.#members.values()].filter((member) => member.url === url)
  }

  #openLine(url: string): BridgeConnection {
    const { clock, chance, open } = this.#parts
    const connection = new BridgeConnection({
      url,
      keyring: this.#keyringOf(url),
      clock,
      chance,
      troubles: this.#troubles,
      beatMs: this.#config.beatMs,
      beatPollingMs: this.#config.beatPollingMs,
      open,
      next: () => this.#beatsOn(url),
      onBeaten: (beats) => this.#onBeaten(beats),
      onLockedOut: (session, error) => this.#onLockedOut(session, error),
      onHint: () => this.#passHintOn(),
      onBack: () => {
        this.#figures.reconnects.add()
        for (const member of this.#on(url)) member.retry()
      },
    })
    this.#lines.set(url, connection)
    return connection
  }

  /** Sessions that are refused do not sign for what any session may ask. */
  #keyringOf(url: string): Keyring {
    const { clock } = this.#parts
    return {
      token: (session) => {
        const credential = this.#keys.get(session)
        return credential?.bridgeUrl === url ? credential.token : undefined
      },
      authority: () => this.#keys.authorityAt(url),
      sessions: () => {
        const now = clock.now()
        const members = this.#on(url)
        const heard = members.filter(({ quietUntil }) => quietUntil <= now)
        return (heard.length > 0 ? heard : members).map(({ session }) => session)
      },
    }
  }

  #beatsOn(url: string): Beat[] {
    const { clock, incarnation } = this.#parts
    const now = clock.now()
    return this.#on(url)
      .filter(({ quietUntil }) => quietUntil <= now)
      .map(({ session, counts }) => {
        counts.beats += 1
        return { session, host: this.#config.host, incarnation, seq: counts.beats, work: counts.work }
      })
  }

  #onBeaten(beats: readonly Beat[]): void {
    this.#figures.beats.add(beats.length)
    for (const { session } of beats) {
      this.#troubles.over(topicOf(session))
      const member = this.#members.get(session)
      if (member !== undefined && member.quietUntil > Number.NEGATIVE_INFINITY) member.retry()
    }
  }

  #onLockedOut(session: SessionId, error: unknown): void {
    const member = this.#members.get(session)
    if (member === undefined) return
    // The first time only: whoever stays locked out is helped by the polls.
    if (member.quietUntil === Number.NEGATIVE_INFINITY) this.#passHintOn()
    member.quietUntil = this.#parts.clock.now() + QUIET_MS
    const next = 'have its credential published anew'
    const why = `the bridge does not let ${session} speak: ${(error as Error).message}; ${next}`
    // What its agent has to hear and say may go by another conversation meanwhile.
    const agent = this.#keys.get(session)?.agent
    const others = this.#on(member.url).filter(({ quietUntil }) => quietUntil <= this.#parts.clock.now())
    const isReplaced = others.some((other) => this.#keys.get(other.session)?.agent === agent)
    this.#troubles.met(topicOf(session), 'locked out', why, error, isReplaced ? 'light' : 'grave')
    this.#keys.onLockedOut(session)
    this.#looks.credentials.nudge()
  }

  #passHintOn(): void {
    const { log, hintCredentials } = this.#parts
    hintCredentials().catch((error) => log.warn('a hint was lost; git is asked when it is time', { error }))
  }

  // One session's errands, and what they tell

  #memberOf(
    { session, bridgeUrl, expiresAt }: Credential,
    { store }: BridgeConnection,
    counts: SessionCounters,
  ): Session {
    const { clock, chance, outbox } = this.#parts
    const common = (errand: string) => ({
      clock,
      chance,
      session,
      store,
      restMs: () => (this.#members.get(session)?.quietUntil ?? Number.NEGATIVE_INFINITY) - clock.now(),
      onTrouble: (error: unknown) => this.#onErrandTrouble(`${errand} of ${session}`, error),
      onWell: () => this.#troubles.over(`${errand} of ${session}`),
    })
    return new Session({
      session,
      url: bridgeUrl,
      counts,
      taking: this.#taking.signal,
      mail: {
        ...common('mail'),
        keep: (messages) => this.#keep(session, messages),
        onOddity: (what) => this.#parts.log.warn('passed over', { what }),
      },
      catchUp: {
        ...common('catching up'),
        isHeld: (id) => this.#shelves.holds(session, id),
        keep: async (messages) => {
          const left = await this.#keep(session, messages)
          if (left > 0)
            this.#parts.log.warn('mail that the stream had left out was fetched', { session, messages: left })
        },
      },
      receipts: {
        ...common('receipts'),
        onTold: async (ids, mark) => {
          if (mark === 'acked') this.#figures.acked.add(ids.length)
          if (mark === 'acked') counts.work += ids.length
          await this.#shelves.onTold(ids, mark)
        },
      },
      outgoing: {
        ...common('outbox'),
        tray: outbox,
        onCarried: () => {
          this.#figures.carried.add()
          counts.work += 1
        },
        onRefused: (name, { code, message, id }) => {
          this.#figures.refused.add()
          this.#parts.log.warn('refused by the bridge, set aside', { name, session, code, why: message, id })
        },
      },
      renewal: {
        ...common('renewal'),
        lifetimeMs: this.#config.lifetimeMs,
        expiresAt,
        onEnd: (at) => this.#onEnd(session, at),
      },
    })
  }

  /** Answers how many were new here. */
  async #keep(session: SessionId, messages: readonly StoredMessage[]): Promise<number> {
    const placed = await this.#parts.inbox.putAll(messages).catch((error) => {
      this.#troubles.threw('inbox', error)
      throw error
    })
    this.#troubles.over('inbox')
    const fresh = placed.filter(({ as }) => as === 'new').length
    this.#figures.delivered.add(fresh)
    this.#shelves.onBrought(session, messages, placed)
    return fresh
  }

  async #onEnd(session: SessionId, expiresAt: number): Promise<void> {
    this.#keys.onRenewed(session, expiresAt)
    await this.#parts.credentials.noteRenewal(session, expiresAt)
  }

  /** That a bridge is away, or refuses a session, the beats tell: once, and not once for each errand. */
  #onErrandTrouble(topic: string, error: unknown): void {
    if (classifyError(error) === 'again' || isLockedOut(error)) {
      this.#parts.log.debug('tried again later', { topic, why: (error as Error).message })
    } else this.#troubles.threw(topic, error)
  }

  /** Only while beats come to an end too, well or not: a service manager restarts what has got stuck. */
  #sayRound(): void {
    const now = this.#parts.clock.now()
    const stuckMs = Math.max(BEATS_STUCK_MS, 3 * this.#config.beatPollingMs)
    const isStuck = [...this.#lines.values()].some(({ beatEndedAt }) => now - beatEndedAt > stuckMs)
    if (isStuck || now - this.#roundAt < ROUND_LEAST_MS) return
    this.#roundAt = now
    this.#parts.round(this.#status())
  }

  #status(): string {
    const sessions = this.#members.size
    const states = new Set([...this.#lines.values()].map(({ state }) => state))
    const state = states.size === 0 ? 'no bridge' : [...states].join(' and ')
    const { delivered } = this.#figures
    return `${sessions} session${sessions === 1 ? '' : 's'}, ${state}, ${delivered.value} delivered, ${this.#speakers.size} waiting in outbox`
  }
}

function topicOf(session: SessionId): string {
  return `session ${session}`
}

function figuresOf(metrics: Metrics) {
  return {
    beats: metrics.counter('s2_keepalive_beats_total', 'Beats the bridge has taken.'),
    delivered: metrics.counter('s2_keepalive_delivered_total', 'Messages brought into the inbox.'),
    acked: metrics.counter('s2_keepalive_acked_total', 'Acks the bridge has kept.'),
    carried: metrics.counter('s2_keepalive_carried_total', 'Items of the outbox the bridge has.'),
    refused: metrics.counter('s2_keepalive_refused_total', 'Items of the outbox the bridge would not have.'),
    reconnects: metrics.counter('s2_keepalive_reconnects_total', 'Returns of a bridge that was away.'),
  }
}
