import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isSpokenFor } from '#fleet/speakers.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { Loop } from '#runtime/loop.ts'
import type { RemoteStore } from '#store/remote/remote.ts'
import { isLockedOut } from './error-class.ts'

export interface BeatSenderParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly signal: AbortSignal
  readonly store: Pick<RemoteStore, 'beat' | 'link'>
  readonly beatMs: number
  readonly beatPollingMs: number
  /** The next beat of each session that speaks over this connection. */
  nextBeats(): readonly Beat[]
  onBeaten(beats: readonly Beat[]): void
  /** The bridge does not let this session speak, or hears it from another place. */
  onRefused(session: SessionId, error: unknown): void
  onAway(error: unknown): void
}

/** A beat that takes longer than this, and longer than two periods, counts as lost. */
const LIMIT_LEAST_MS = 5_000
/** The shortest time between two beats, however often something is to be told at once. */
const APART_LEAST_MS = 200
/** The shortest pause between two beats, however long the first one took. */
const PAUSE_LEAST_MS = 20

/** Sends the beats of one connection at its own pace: no other request delays them. */
export class BeatSender {
  readonly #parts: BeatSenderParts
  readonly #loop: Loop
  #beatenAt = Number.NEGATIVE_INFINITY
  /** When a beat was begun last, whether it was due then or not. */
  #begunAt = Number.NEGATIVE_INFINITY
  #endedAt: number

  constructor(parts: BeatSenderParts) {
    this.#parts = parts
    this.#endedAt = parts.clock.now()
    this.#loop = new Loop({
      clock: parts.clock,
      signal: parts.signal,
      step: () => this.#tick(),
      onError: (error) => {
        this.#beatenAt = Number.NEGATIVE_INFINITY
        parts.onAway(error)
        return this.#waitMs(parts.clock.now())
      },
    })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  /** Only plain requests get through, each at a cost: beats are sent less often. */
  get isPolling(): boolean {
    return this.#parts.store.link.means === 'polling'
  }

  /** When a beat ended last, well or not, by the clock that never jumps. */
  get endedAt(): number {
    return this.#endedAt
  }

  /** Beats at once, whatever the pace: a session has joined or speaks with a new credential, or a client does what the fleet is to hear of. */
  now(): void {
    this.#beatenAt = Number.NEGATIVE_INFINITY
    this.#loop.nudge()
  }

  /** Runs every period, since a socket may open at any time; where only requests get through, most periods pass without a beat. */
  async #tick(): Promise<number> {
    const { clock, beatPollingMs, nextBeats } = this.#parts
    const began = clock.now()
    const apartMs = began - this.#begunAt
    if (apartMs < APART_LEAST_MS) return APART_LEAST_MS - apartMs
    if (!this.isPolling || began - this.#beatenAt >= beatPollingMs - this.#parts.beatMs / 2) {
      this.#beatenAt = began
      this.#begunAt = began
      await this.#beat(nextBeats()).finally(() => {
        this.#endedAt = clock.now()
      })
    }
    return this.#waitMs(began)
  }

  async #beat(beats: readonly Beat[]): Promise<void> {
    if (beats.length === 0) return
    try {
      await this.#inTime(this.#parts.store.beat(beats))
      this.#parts.onBeaten(beats)
    } catch (error) {
      if (!isLockedOut(error) && !isSpokenFor(error)) throw error
      const [only] = beats
      if (beats.length === 1 && only !== undefined) this.#parts.onRefused(only.session, error)
      // One session of several is refused: each beats by itself, so that the others are still heard.
      else for (const beat of beats) await this.#beat([beat])
    }
  }

  /** Waits no longer than the next beats can wait. */
  async #inTime(beaten: Promise<void>): Promise<void> {
    const { clock, signal, beatMs } = this.#parts
    const limitMs = Math.max(2 * beatMs, LIMIT_LEAST_MS)
    if ((await waitAtMost(beaten, limitMs, clock, signal)) !== LATE) return
    throw new S2Error('unavailable', `the bridge has not answered a beat for ${Math.round(limitMs)} ms`)
  }

  /** How long to wait from now on: never beyond the period, and a little less by chance, so that a fleet does not beat as one. */
  #waitMs(began: number): number {
    const { clock, chance, beatMs } = this.#parts
    return Math.max(PAUSE_LEAST_MS, beatMs * (0.9 + 0.1 * chance()) - (clock.now() - began))
  }
}
