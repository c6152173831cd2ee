import { type Credential, hashOfSecret } from '#fleet/credential.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Health } from '#runtime/health.ts'
import type { Log } from '#runtime/log.ts'
import type { RetryLoop } from '#runtime/retry-loop.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import type { Keyring } from '#store/remote/keyring.ts'
import type { RemoteStore } from '#store/remote/remote.ts'
import { ActiveCredentials } from './active-credentials.ts'
import { tryCredential } from './credential-trial.ts'
import { folderLoop } from './folder-loop.ts'
import { type HeldByHand, HeldTaskRenewal } from './held-task-renewal.ts'
import { InboxScan } from './inbox-scan.ts'
import { type KeepaliveMetrics, keepaliveMetrics } from './keepalive-metrics.ts'
import { LeaseReporter, type LeaseReporterParts } from './lease-reporter.ts'
import { OutboxScan } from './outbox-scan.ts'
import { type ReservationLists, ReservationRefresh } from './reservation-refresh.ts'
import { type ClientsOfSessions, Session, type SessionCounters } from './session.ts'
import { lockoutTopic, refusalTopics, SharedBridgeConnection } from './shared-bridge-connection.ts'
import type { CredentialsPort, InboxPort, OutboxPort } from './spool-interfaces.ts'

/** How the sessions of a host are run. Times in milliseconds. */
export interface SessionManagerConfig {
  /** What this host is called in beats. */
  readonly host: string
  readonly beatMs: number
  /** The same where only plain requests get through. */
  readonly beatPollingMs: number
  /** How often folders are looked into even when no change was heard of. */
  readonly pollMs: number
  /** How long it may take to send what waits when the program stops. */
  readonly drainMs: number
}

export type Spool = 'inbox' | 'outbox' | 'credentials'

export interface SessionManagerParts {
  /** Opens the bridge at an address; what it does is signed by the keyring. */
  open(url: string, keyring: Keyring): RemoteStore
  readonly inbox: InboxPort
  /** Who has which message of the inbox in hand. Left out: nobody keeps that. */
  readonly leases?: LeaseReporterParts['leases']
  readonly outbox: OutboxPort
  readonly credentials: CredentialsPort
  /** The tasks that agents hold by hand. Left out: none are. */
  readonly held?: HeldByHand
  /** Who has which files, for the hooks of git. Left out: nobody keeps that. */
  readonly reservations?: ReservationLists
  /** The id of this run of the program; no other run has it. */
  readonly incarnation: string
  /** Where it runs (`spool/place.ts`). Left out: the bridge does not tell it from a copy of this host. */
  readonly place?: string | undefined
  /** What is known of the clients that work for the sessions. Left out: nothing is. */
  readonly clients?: ClientsOfSessions
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly health: Pick<Health, 'trouble' | 'metrics'>
  /** Leaves a hint for cred-sync that there may be new credentials. */
  hintCredentials(): Promise<void>
  /** A round of real work has ended; the status is for people. */
  round(status: string): void
  /** Watches a folder for changes until disposed. Left out: only the polls find them. */
  hear?(spool: Spool, heard: () => void): Disposable
}

/** Credentials change seldom, and every look reads all of them. */
const CREDENTIALS_MS = 2_000
const ROUND_LEAST_MS = 1_000
const BEATS_STUCK_MS = 60_000
/** This part of the drain's time is for sending what waits; the rest is for closing connections. */
const DRAIN_SHARE = 0.8
const DRAIN_LOOK_MS = 10

/** The sessions of one host: opens and closes each as its credential comes and goes, and hands it what the spool holds for it. */
export class SessionManager implements AsyncDisposable {
  readonly #config: SessionManagerConfig
  readonly #parts: SessionManagerParts
  readonly #metrics: KeepaliveMetrics
  readonly #troubles: TroubleLog
  readonly #credentials: ActiveCredentials
  readonly #inbox: InboxScan
  readonly #outbox: OutboxScan
  readonly #sessions = new Map<SessionId, Session>()
  readonly #counters = new Map<SessionId, SessionCounters>()
  readonly #connections = new Map<string, SharedBridgeConnection>()
  #roundAt = Number.NEGATIVE_INFINITY
  /** Aborts when nothing new shall be received. */
  readonly #receiving = new AbortController()
  readonly #ending = new AbortController()
  readonly #watches = new DisposableStack()
  readonly #loops: Readonly<Record<Spool, RetryLoop>>
  readonly #held: HeldTaskRenewal | null
  /** Sessions and connections that were closed and still finish a request. */
  readonly #closing = new Set<Promise<void>>()
  readonly #leases: LeaseReporter | null
  readonly #reservations: ReservationRefresh | null

  constructor(config: SessionManagerConfig, parts: SessionManagerParts) {
    this.#config = config
    this.#parts = parts
    const { clock, chance, log, health, credentials, inbox, outbox, open } = parts
    this.#metrics = keepaliveMetrics(health.metrics)
    this.#troubles = new TroubleLog({ log, health })
    this.#inbox = new InboxScan({ inbox, clock, trackedBy: (id, guess) => this.#trackedBy(id, guess) })
    this.#outbox = new OutboxScan(outbox, clock)
    this.#leases = parts.leases === undefined ? null : this.#reportLeases(parts.leases)
    health.metrics.gauge('s2_keepalive_outbox', 'Items that wait in the outbox.', () => this.#outbox.size)
    health.metrics.gauge('s2_keepalive_sessions', 'Sessions in force.', () => this.#sessions.size)
    this.#credentials = new ActiveCredentials({
      files: credentials,
      clock,
      chance,
      log,
      troubles: this.#troubles,
      prove: (credential) => tryCredential(credential, { clock, signal: this.#receiving.signal, open }),
      onJoin: (credential) => this.#join(credential),
      onChange: (credential, former) => this.#change(credential, former),
      onLeave: (session) => this.#leave(session),
    })
    this.#loops = {
      inbox: this.#loop('inbox', this.#ending.signal, () => this.#lookIntoInbox()),
      outbox: this.#loop('outbox', this.#ending.signal, () => this.#lookIntoOutbox()),
      credentials: this.#loop('credentials', this.#receiving.signal, () => this.#lookIntoCredentials()),
    }
    this.#reservations = parts.reservations === undefined ? null : this.#refresh(parts.reservations)
    this.#held = parts.held === undefined ? null : this.#renewHeld(parts.held)
    parts.clients?.onUrgent(() => this.#beatNow())
  }

  #beatNow(): void {
    for (const connection of this.#connections.values()) connection.beatNow()
  }

  /** The sessions in force. */
  get sessionsHere(): readonly SessionId[] {
    return [...this.#sessions.keys()]
  }

  /** Sends what waits within the time, and reports what is left: it lies in the spool, where the next start finds it. */
  async drain(): Promise<void> {
    const { clock, log } = this.#parts
    const until = clock.now() + this.#config.drainMs * DRAIN_SHARE
    this.#receiving.abort()
    await this.#lookOnceMore()
    const sessions = [...this.#sessions.values()]
    while (sessions.some(({ isBusy }) => isBusy) && clock.now() < until) await clock.sleep(DRAIN_LOOK_MS)
    await this.#lookOnceMore()
    const acks = sessions.reduce((sum, { unsentAcks }) => sum + unsentAcks, 0)
    if (acks + this.#outbox.size === 0) log.info('stopped with nothing unsent')
    else log.warn('stopped with unsent items', { outbox: this.#outbox.size, acks })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#receiving.abort()
    this.#ending.abort()
    this.#watches.dispose()
    for (const session of [...this.#sessions.keys()]) this.#leave(session)
    const others = [this.#held?.done, this.#leases?.done, this.#reservations?.done]
    await Promise.all([...others, ...Object.values(this.#loops).map(({ done }) => done)])
    await Promise.all(this.#closing)
  }

  // What lies in the spool goes to the sessions

  #loop(spool: Spool, signal: AbortSignal, look: () => Promise<number>): RetryLoop {
    const { clock, chance, hear } = this.#parts
    const loop = folderLoop({
      clock,
      chance,
      signal,
      look,
      onTrouble: (error) => this.#troubles.threw(spool, error),
      onWell: () => this.#troubles.over(spool),
    })
    const watch = hear?.(spool, () => loop.nudge())
    if (watch !== undefined) this.#watches.use(watch)
    return loop
  }

  #renewHeld(held: HeldByHand): HeldTaskRenewal {
    const { clock, chance, log, place } = this.#parts
    const renewal = new HeldTaskRenewal({
      ...held,
      clock,
      chance,
      log,
      place,
      troubles: this.#troubles,
      signal: this.#receiving.signal,
      storeOf: (session) => this.#storeOf(session),
    })
    const watch = held.hear?.(() => renewal.nudge())
    if (watch !== undefined) this.#watches.use(watch)
    return renewal
  }

  #reportLeases(leases: LeaseReporterParts['leases']): LeaseReporter {
    const { clock, chance } = this.#parts
    return new LeaseReporter({
      clock,
      chance,
      signal: this.#receiving.signal,
      leases,
      storeOf: (session) => this.#storeOf(session),
      onGivenUp: (session, ids) => this.#sessions.get(session)?.onGivenUp(ids),
      onTrouble: (error) => this.#troubles.threw('message leases', error),
      onWell: () => this.#troubles.over('message leases'),
    })
  }

  /** What goes wrong holds up nothing else, and the age of the list is told to whoever commits by it. */
  #refresh(lists: ReservationLists): ReservationRefresh {
    const { clock, chance, log } = this.#parts
    return new ReservationRefresh({
      clock,
      chance,
      lists,
      signal: this.#receiving.signal,
      sessionsHere: () => this.sessionsHere,
      storeOf: (session) => this.#storeOf(session),
      onTrouble: (error) => log.debug('reservations not refreshed', { why: (error as Error).message }),
      onWell: () => undefined,
    })
  }

  /** The store that hears a session from this host; null while none does. */
  #storeOf(id: SessionId): RemoteStore | null {
    const session = this.#sessions.get(id)
    if (session === undefined || !session.maySpeak) return null
    return this.#connections.get(session.bridgeUrl)?.store ?? null
  }

  async #lookIntoCredentials(): Promise<number> {
    await this.#credentials.look()
    return CREDENTIALS_MS
  }

  async #lookIntoInbox(): Promise<number> {
    const scanned = await this.#inbox.scan()
    const concerned = [...this.#sessions].flatMap(([id, session]) =>
      scanned.isWhole || scanned.sessions.has(id) ? [session] : [],
    )
    // All marks are queued before anything is removed: a full disk refuses the removals of one session, and no ack of another.
    for (const session of concerned) session.onScan(scanned)
    for (const session of concerned) await session.forgetAcked(scanned)
    this.#reportRound()
    return this.#config.pollMs
  }

  async #lookIntoOutbox(): Promise<number> {
    const waiting = await this.#outbox.scan()
    if (waiting !== null) for (const [id, session] of this.#sessions) session.enqueue(waiting.get(id) ?? [])
    return this.#config.pollMs
  }

  async #lookOnceMore(): Promise<void> {
    this.#inbox.reset()
    this.#outbox.reset()
    try {
      await this.#lookIntoInbox()
      await this.#lookIntoOutbox()
    } catch (error) {
      this.#troubles.threw('spool', error)
    }
  }

  #trackedBy(id: number, guess: SessionId | undefined): SessionId | undefined {
    if (guess !== undefined && this.#sessions.get(guess)?.tracks(id) === true) return guess
    return this.#sessions.values().find((session) => session.tracks(id))?.session
  }

  // Sessions join, change and leave

  #join(credential: Credential): void {
    const { session: id, bridgeUrl, agent } = credential
    const { inbox, outbox, credentials, clients, clock, chance, log } = this.#parts
    const counters = this.#counters.get(id) ?? { beats: 0, work: 0 }
    this.#counters.set(id, counters)
    const connection = this.#connections.get(bridgeUrl) ?? this.#connect(bridgeUrl)
    const session = new Session(credential, {
      store: connection.store,
      inbox,
      outbox,
      credentials,
      clock,
      chance,
      log,
      troubles: this.#troubles,
      metrics: this.#metrics,
      counters,
      clients,
      receiving: this.#receiving.signal,
    })
    this.#sessions.set(id, session)
    log.info('session joined', { session: id, agent, bridge: bridgeUrl })
    this.#confirm(credential, connection)
    connection.add(session)
    this.#inbox.reset()
    this.#loops.inbox.nudge()
    this.#outbox.reset()
    this.#loops.outbox.nudge()
  }

  #change(credential: Credential, former: Credential): void {
    const { session, bridgeUrl } = credential
    if (bridgeUrl !== former.bridgeUrl) {
      this.#leave(session)
      this.#join(credential)
      return
    }
    this.#troubles.over(lockoutTopic(session))
    this.#sessions.get(session)?.retry()
    const connection = this.#connections.get(bridgeUrl)
    connection?.beatNow()
    if (connection !== undefined) this.#confirm(credential, connection)
  }

  /** Tells the bridge that this token is in force here, so that the one before ends. Where it does not hear it, time ends that. */
  #confirm({ session, token }: Credential, { store }: SharedBridgeConnection): void {
    store
      .confirmToken(session, hashOfSecret(token))
      .catch((error: unknown) => this.#parts.log.debug('token not confirmed', { session, error }))
  }

  #leave(id: SessionId): void {
    const session = this.#sessions.get(id)
    if (session === undefined) return
    this.#sessions.delete(id)
    for (const topic of refusalTopics(id)) this.#troubles.over(topic)
    this.#close(session)
    const connection = this.#connections.get(session.bridgeUrl)
    connection?.remove(id)
    if (connection?.isUnused !== true) return
    this.#connections.delete(session.bridgeUrl)
    this.#close(connection)
  }

  #connect(url: string): SharedBridgeConnection {
    const { incarnation, place, clock, chance, open } = this.#parts
    const { host, beatMs, beatPollingMs } = this.#config
    const connection = new SharedBridgeConnection({
      url,
      host,
      incarnation,
      place,
      clock,
      chance,
      troubles: this.#troubles,
      metrics: this.#metrics,
      credentials: this.#credentials,
      beatMs,
      beatPollingMs,
      open,
      onLockedOut: (session) => this.#onLockedOut(session),
      onHint: () => this.#passHintOn(),
    })
    this.#connections.set(url, connection)
    return connection
  }

  /** Closes something without waiting for the request that it has under way. */
  #close(closing: AsyncDisposable): void {
    const { log } = this.#parts
    const closed = Promise.resolve(closing[Symbol.asyncDispose]())
      .catch((error) => log.error('close failed', { error }))
      .finally(() => this.#closing.delete(closed))
    this.#closing.add(closed)
  }

  #onLockedOut(session: SessionId): void {
    this.#credentials.onLockedOut(session)
    this.#loops.credentials.nudge()
  }

  #passHintOn(): void {
    const { log, hintCredentials } = this.#parts
    hintCredentials().catch((error) => log.warn('credential hint lost, the next poll looks', { error }))
  }

  // What people and the service manager are told

  /** Reports only while beats end too, well or not: the service manager restarts a program that is stuck. */
  #reportRound(): void {
    const now = this.#parts.clock.now()
    const stuckMs = Math.max(BEATS_STUCK_MS, 3 * this.#config.beatPollingMs)
    const isStuck = this.#connections.values().some(({ beatEndedAt }) => now - beatEndedAt > stuckMs)
    if (isStuck || now - this.#roundAt < ROUND_LEAST_MS) return
    this.#roundAt = now
    this.#parts.round(this.#status())
  }

  #status(): string {
    const sessions = this.#sessions.size
    const states = new Set(this.#connections.values().map(({ state }) => state))
    const state = states.size === 0 ? 'no bridge' : [...states].join(' and ')
    const { delivered } = this.#metrics
    return `${sessions} session${sessions === 1 ? '' : 's'}, ${state}, ${delivered.value} delivered, ${this.#outbox.size} waiting in outbox`
  }
}
