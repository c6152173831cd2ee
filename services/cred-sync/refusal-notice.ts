import type { Credential } from '#fleet/credential.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'

export interface RefusalNoticeParts {
  readonly clock: Clock
  readonly log: Log
  readonly signal: AbortSignal
  /** The bridge, as the session of this credential; the caller closes it. */
  open(credential: Credential): Promise<Pick<Store, 'noteRefusal'> & AsyncDisposable>
  /** The credentials in force. */
  held(): Promise<readonly Credential[]>
}

/** What somebody made, or keeps from being right. What may pass by itself, and what is not there, is not refused. */
const REFUSALS: ReadonlySet<Code> = new Set([
  'unauthenticated',
  'forbidden',
  'conflict',
  'expired',
  'too_large',
  'invalid',
])
const TELL_MS = 10_000

/**
 * Tells the bridge why this host refuses what is published for it, once, and once when that is over; the orchestrator's host
 * makes an incident of it. The credential in force speaks. Without one nothing is told, and the host is silent for people anyway.
 */
export class RefusalNotice {
  readonly #parts: RefusalNoticeParts
  /** What the bridge has; a new program does not know. */
  #told: string | null | undefined = undefined

  constructor(parts: RefusalNoticeParts) {
    this.#parts = parts
  }

  /** A look failed. */
  async failed(error: unknown): Promise<void> {
    if (!(error instanceof S2Error) || !REFUSALS.has(error.code)) return
    await this.#tell(error.next === undefined ? error.message : `${error.message}; ${error.next}`)
  }

  /** A look found nothing to refuse. */
  async succeeded(): Promise<void> {
    await this.#tell(null)
  }

  /** What cannot be told now is told after the next look. */
  async #tell(why: string | null): Promise<void> {
    if (why === this.#told) return
    const { clock, log, signal } = this.#parts
    try {
      const credential = await this.#speaker()
      if (credential === null) return
      await using bridge = await this.#parts.open(credential)
      await boundedWait(() => bridge.noteRefusal(credential.session, why), TELL_MS, clock, signal)
      this.#told = why
    } catch (error) {
      log.debug('a refusal could not be told to the bridge, retrying after the next look', { error })
    }
  }

  async #speaker(): Promise<Credential | null> {
    const now = this.#parts.clock.wall()
    const living = (await this.#parts.held()).filter(({ expiresAt }) => expiresAt > now)
    return living.reduce<Credential | null>(
      (best, each) => (best === null || each.createdAt > best.createdAt ? each : best),
      null,
    )
  }
}
