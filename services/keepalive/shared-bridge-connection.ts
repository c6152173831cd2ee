import type { Beat } from '#fleet/beat.ts'
import type { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isSpokenFor } from '#fleet/speakers.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import type { Keyring } from '#store/remote/keyring.ts'
import type { RemoteStore } from '#store/remote/remote.ts'
import { adviceOnCertificate } from '#store/remote/tls-error-advice.ts'
import type { ActiveCredentials } from './active-credentials.ts'
import { BeatSender } from './beat-sender.ts'
import type { KeepaliveMetrics } from './keepalive-metrics.ts'
import type { Session } from './session.ts'

export interface BridgeConnectionParts {
  readonly url: string
  /** What this host is called in beats. */
  readonly host: string
  /** The id of this run of the program; no other run has it. */
  readonly incarnation: string
  /** Where it beats from (`spool/place.ts`). */
  readonly place: string | undefined
  readonly clock: Clock
  readonly chance: Chance
  readonly troubles: TroubleLog
  readonly metrics: Pick<KeepaliveMetrics, 'beats' | 'reconnects'>
  readonly credentials: Pick<ActiveCredentials, 'get' | 'authorityAt' | 'pinAt'>
  readonly beatMs: number
  readonly beatPollingMs: number
  open(url: string, keyring: Keyring): RemoteStore
  /** The bridge does not let a session speak: its credential must be looked at. */
  onLockedOut(session: SessionId): void
  /** Git may have new credentials for sessions of this connection. */
  onHint(): void
}

/** The connection to one bridge, and the beats of all sessions that speak over it. */
export class SharedBridgeConnection implements AsyncDisposable {
  readonly store: RemoteStore
  readonly #parts: BridgeConnectionParts
  readonly #sessions = new Map<SessionId, Session>()
  readonly #beats: BeatSender
  readonly #following: Promise<unknown>
  readonly #ending = new AbortController()
  readonly #topic: string
  /** Wall clock, for people; null while the bridge answers. */
  #awaySince: number | null = null
  #hasAnswered = false

  constructor(parts: BridgeConnectionParts) {
    const { url, clock, chance, beatMs, beatPollingMs } = parts
    this.#parts = parts
    this.#topic = `bridge ${url}`
    this.store = parts.open(url, this.#keyring())
    this.#beats = new BeatSender({
      clock,
      chance,
      signal: this.#ending.signal,
      store: this.store,
      beatMs,
      beatPollingMs,
      nextBeats: () => this.#nextBeats(),
      onBeaten: (beats) => this.#onBeaten(beats),
      onRefused: (session, error) =>
        isSpokenFor(error) ? this.#onSpokenFor(session, error) : this.#onLockedOut(session, error),
      onAway: (error) => this.#onAway(error),
    })
    this.#following = Promise.all([this.#followHints(), this.#followRefusals()])
  }

  /** What people are told of the connection. */
  get state(): string {
    if (this.#awaySince !== null) return `away since ${new Date(this.#awaySince).toISOString()}`
    if (!this.#hasAnswered) return 'linking'
    return this.#beats.isPolling ? 'polling' : 'linked'
  }

  /** When a beat ended last, well or not, by the clock that never jumps. */
  get beatEndedAt(): number {
    return this.#beats.endedAt
  }

  get isUnused(): boolean {
    return this.#sessions.size === 0
  }

  /** From now on the session is beaten for. */
  add(session: Session): void {
    this.#sessions.set(session.session, session)
    this.#beats.now()
  }

  remove(session: SessionId): void {
    this.#sessions.delete(session)
  }

  /** Beats at once: a session speaks with a new credential. */
  beatNow(): void {
    this.#beats.now()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    this.#parts.troubles.over(this.#topic)
    await this.store[Symbol.asyncDispose]()
    await this.#beats.done
    await this.#following
  }

  async #followHints(): Promise<void> {
    for await (const _ of this.store.credentialHints(this.#ending.signal)) this.#parts.onHint()
  }

  /** The next beat would find it out, and may be minutes away. Those that are locked out ask at a pace of their own. */
  async #followRefusals(): Promise<void> {
    for await (const refused of this.store.refusedSessions(this.#ending.signal)) {
      if (refused.some((session) => this.#sessions.get(session)?.isLockedOut === false)) this.#beats.now()
    }
  }

  /** Locked-out sessions do not sign requests that any session may make. */
  #keyring(): Keyring {
    const { url, credentials } = this.#parts
    return {
      token: (session) => {
        const credential = credentials.get(session)
        return credential?.bridgeUrl === url ? credential.token : undefined
      },
      authority: () => credentials.authorityAt(url),
      pin: () => credentials.pinAt(url),
      sessions: () => {
        const speaking = this.#speaking()
        return speaking.length > 0 ? speaking.map(({ session }) => session) : [...this.#sessions.keys()]
      },
    }
  }

  #speaking(): Session[] {
    return [...this.#sessions.values().filter(({ maySpeak }) => maySpeak)]
  }

  #nextBeats(): Beat[] {
    const { host, incarnation, place } = this.#parts
    return this.#speaking().map((session) => session.nextBeat(host, incarnation, place))
  }

  #onBeaten(beats: readonly Beat[]): void {
    const { metrics, troubles } = this.#parts
    this.#onAnswer()
    metrics.beats.add(beats.length)
    for (const beat of beats) {
      for (const topic of refusalTopics(beat.session)) troubles.over(topic)
      this.#sessions.get(beat.session)?.onBeaten()
    }
  }

  #onSpokenFor(id: SessionId, error: S2Error): void {
    this.#onAnswer()
    const session = this.#sessions.get(id)
    if (session === undefined) return
    session.standAside(error.retryAfterS)
    const { message, next } = error
    this.#parts.troubles.met(placeTopic(id), message, next === undefined ? message : `${message}; ${next}`, error)
  }

  #onLockedOut(id: SessionId, error: unknown): void {
    this.#onAnswer() // a refusal is an answer
    const session = this.#sessions.get(id)
    if (session === undefined) return
    // One hint is enough: while the session stays locked out, cred-sync asks git at intervals anyway.
    if (!session.isLockedOut) this.#parts.onHint()
    session.lockOut()
    const { message, next } = error as Partial<S2Error>
    const why = `the bridge does not let ${id} speak: ${message}; ${next ?? 'have a new credential published for it'}`
    this.#parts.troubles.met(lockoutTopic(id), 'locked out', why, error, this.#isReplaced(id) ? 'light' : 'grave')
    this.#parts.onLockedOut(id)
  }

  /** True while the agent of a session is reached by another conversation. */
  #isReplaced(session: SessionId): boolean {
    const { credentials } = this.#parts
    const agent = credentials.get(session)?.agent
    return this.#speaking().some((other) => credentials.get(other.session)?.agent === agent)
  }

  #onAnswer(): void {
    const wasAway = this.#awaySince !== null
    this.#awaySince = null
    this.#hasAnswered = true
    this.#parts.troubles.over(this.#topic)
    if (!wasAway) return
    this.#parts.metrics.reconnects.add()
    for (const session of this.#sessions.values()) session.retry()
  }

  #onAway(error: unknown): void {
    const { url, clock, troubles } = this.#parts
    this.#awaySince ??= clock.wall()
    for (const session of this.#sessions.values()) session.onAway()
    const since = new Date(this.#awaySince).toISOString()
    const { message, next } = error as S2Error
    const away = `${url} cannot be reached since ${since}: ${message}`
    // An absent bridge mostly comes back by itself; a bad certificate waits for a person, who is told what to do.
    const fault = adviceOnCertificate(error)
    if (fault === null) troubles.met(this.#topic, 'away', away, error)
    else troubles.met(this.#topic, `away: ${fault.kind}`, `${away}; ${next ?? fault.next}`, error)
  }
}

/** The topics under which people are told that a session is refused. */
export function refusalTopics(session: SessionId): readonly string[] {
  return [lockoutTopic(session), placeTopic(session)]
}

function placeTopic(session: SessionId): string {
  return `place of ${session}`
}

/** The topic under which people are told that the bridge locks a session out. */
export function lockoutTopic(session: SessionId): string {
  return `session ${session}`
}
