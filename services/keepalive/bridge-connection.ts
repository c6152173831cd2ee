import type { Beat } from '#fleet/beat.ts'
import type { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import type { Keyring } from '#store/remote/remote.ts'
import { adviceOnCertificate } from '#store/remote/server-trust.ts'
import { BeatSender } from './beat-sender.ts'
import type { LinkedStore } from './ports.ts'

export interface BridgeConnectionParts {
  readonly url: string
  readonly keyring: Keyring
  readonly clock: Clock
  readonly chance: Chance
  readonly troubles: TroubleLog
  readonly beatMs: number
  readonly beatPollingMs: number
  open(url: string, keyring: Keyring): LinkedStore
  /** The next beat of each session on this line. */
  next(): readonly Beat[]
  onBeaten(beats: readonly Beat[]): void
  onLockedOut(session: SessionId, error: unknown): void
  /** The bridge says that git may have new credentials for sessions of this line. */
  onHint(): void
  /** The bridge answers again. */
  onBack(): void
}

/** The way to one bridge, for all sessions that speak to it. */
export class BridgeConnection implements AsyncDisposable {
  readonly store: LinkedStore
  readonly #beats: BeatSender
  readonly #hints: Promise<void>
  readonly #over = new AbortController()
  readonly #topic: string
  readonly #parts: BridgeConnectionParts
  /** Wall clock, for people; null while the bridge answers. */
  #awaySince: number | null = null
  #isNew = true

  constructor(parts: BridgeConnectionParts) {
    const { url, keyring, clock, chance, beatMs, beatPollingMs } = parts
    this.#parts = parts
    this.#topic = `bridge ${url}`
    this.store = parts.open(url, keyring)
    this.#beats = new BeatSender({
      clock,
      chance,
      signal: this.#over.signal,
      store: this.store,
      beatMs,
      beatPollingMs,
      next: parts.next,
      onBeaten: (beats) => this.#onBeaten(beats),
      onLockedOut: (session, error) => {
        this.#onAnswer() // a refusal is an answer
        parts.onLockedOut(session, error)
      },
      onAway: (error) => this.#onAway(error),
    })
    this.#hints = this.#hear()
  }

  async #hear(): Promise<void> {
    for await (const _ of this.store.credentialHints(this.#over.signal)) this.#parts.onHint()
  }

  get state(): string {
    if (this.#awaySince !== null) return `away since ${new Date(this.#awaySince).toISOString()}`
    if (this.#isNew) return 'linking'
    return this.#beats.isPolling ? 'polling' : 'linked'
  }

  /** When a beat ended last, well or not, by the clock that never jumps. */
  get beatEndedAt(): number {
    return this.#beats.endedAt
  }

  /** There is a session that was not beaten for. */
  beatNow(): void {
    this.#beats.now()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    this.#parts.troubles.over(this.#topic)
    await this.store[Symbol.asyncDispose]()
    await this.#beats.done
    await this.#hints
  }

  #onBeaten(beats: readonly Beat[]): void {
    this.#onAnswer()
    this.#parts.onBeaten(beats)
  }

  #onAnswer(): void {
    const wasAway = this.#awaySince !== null
    this.#awaySince = null
    this.#isNew = false
    this.#parts.troubles.over(this.#topic)
    if (wasAway) this.#parts.onBack()
  }

  #onAway(error: unknown): void {
    const { url, clock, troubles } = this.#parts
    this.#awaySince ??= clock.wall()
    const since = new Date(this.#awaySince).toISOString()
    const { message, next } = error as S2Error
    const away = `${url} cannot be reached since ${since}: ${message}`
    // What is away mostly comes back by itself; a certificate waits for a human, who is told what to do.
    const fault = adviceOnCertificate(error)
    if (fault === null) troubles.met(this.#topic, 'away', away, error)
    else troubles.met(this.#topic, `away: ${fault.kind}`, `${away}; ${next ?? fault.next}`, error)
  }
}
