import type { Credential } from '#fleet/credential.ts'
import type { S2Error } from '#fleet/errors.ts'
import { sideOf } from '#fleet/session-id.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { TroubleLog, type TroubleLogParts } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'

export interface RefusalNoticeParts extends TroubleLogParts {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** The bridge, as the session of this credential; the caller closes it. */
  open(credential: Credential): Promise<Pick<Store, 'noteRefusal'> & AsyncDisposable>
  /** The credentials in force. */
  held(): Promise<readonly Credential[]>
}

const TELL_MS = 10_000
const TOPIC = 'refusal'
const UNTOLD = 'a refused credential cannot be told to the bridge; it is tried again after each look'
/** The bridge may forget: its database may be put back to a backup, or this host be let in anew. */
const AGAIN_MS = 600_000

/**
 * Tells the bridge why this host refuses what is published for it, and that this is over; the orchestrator's host makes an
 * incident of it. The credential in force speaks. Without one nothing is told, and the host is silent for people anyway.
 */
export class RefusalNotice {
  readonly #parts: RefusalNoticeParts
  /** What the bridge has, by which credential it was told, and when; a new program does not know. */
  #told: { readonly why: string | null; readonly serial: number; readonly at: number } | null = null
  readonly #troubles: TroubleLog

  constructor(parts: RefusalNoticeParts) {
    this.#parts = parts
    this.#troubles = new TroubleLog(parts)
  }

  /** What a look refused; null: nothing. What cannot be told now is told after the next look. */
  async tell(refusal: S2Error | null): Promise<void> {
    const { clock, signal } = this.#parts
    const why = refusal === null ? null : `${refusal.message}${refusal.next === undefined ? '' : `; ${refusal.next}`}`
    try {
      const credential = await this.#speaker()
      if (credential === null || this.#isKnown(why, credential)) return
      await using bridge = await this.#parts.open(credential)
      await boundedWait(() => bridge.noteRefusal(credential.session, why), TELL_MS, clock, signal)
      this.#told = { why, serial: credential.createdAt, at: clock.now() }
      this.#troubles.over(TOPIC)
    } catch (error) {
      // That nothing is refused any more can wait, and a bridge that is away is told of already.
      if (why !== null) this.#troubles.met(TOPIC, 'untold', UNTOLD, error, 'light')
    }
  }

  #isKnown(why: string | null, { createdAt }: Credential): boolean {
    const told = this.#told
    if (told === null || told.why !== why || told.serial !== createdAt) return false
    return this.#parts.clock.now() - told.at < AGAIN_MS
  }

  /** The newest of a worker: a host may hold others too. */
  async #speaker(): Promise<Credential | null> {
    const now = this.#parts.clock.wall()
    const ours = (await this.#parts.held()).filter(
      ({ session, expiresAt }) => sideOf(session) === 'b' && expiresAt > now,
    )
    return ours.toSorted((one, other) => other.createdAt - one.createdAt)[0] ?? null
  }
}
