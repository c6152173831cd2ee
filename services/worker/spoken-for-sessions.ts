import type { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isSpokenFor } from '#fleet/speakers.ts'
import type { Clock } from '#runtime/clock.ts'

export interface SpokenForSessionsParts {
  readonly clock: Pick<Clock, 'now'>
  /** Another place began to speak for a session. */
  onBegin(session: SessionId, refusal: S2Error): void
}

interface Refusal {
  readonly error: S2Error
  /** By the clock that never jumps. */
  askAt: number
}

/** How long a session is left alone where the store does not say it, milliseconds. */
const LEFT_ALONE_MS = 30_000

/** The sessions that another place speaks for: no work is asked for them until the store may answer otherwise. */
export class SpokenForSessions {
  readonly #parts: SpokenForSessionsParts
  readonly #refusals = new Map<SessionId, Refusal>()

  constructor(parts: SpokenForSessionsParts) {
    this.#parts = parts
  }

  /** Whether another place spoke for the session when it was asked for last. */
  has(session: SessionId): boolean {
    return this.#refusals.has(session)
  }

  /** The refusal of a session that it is too early to ask for again. */
  standing(session: SessionId): S2Error | null {
    const refusal = this.#refusals.get(session)
    return refusal !== undefined && this.#parts.clock.now() < refusal.askAt ? refusal.error : null
  }

  /** Takes in what asking for a session's work threw; an error of another kind changes nothing. */
  noteError(session: SessionId, error: unknown): void {
    if (!isSpokenFor(error)) return
    const { clock, onBegin } = this.#parts
    const isNew = this.#refusals.get(session)?.error.message !== error.message
    const waitMs = error.retryAfterS === undefined ? LEFT_ALONE_MS : error.retryAfterS * 1_000
    this.#refusals.set(session, { error, askAt: clock.now() + waitMs })
    if (isNew) onBegin(session, error)
  }

  /** The store answered: it hears the session from here. */
  noteAnswer(session: SessionId): void {
    this.#refusals.delete(session)
  }

  /** Something shows that a session may be heard from here by now. */
  askAtOnce(): void {
    for (const refusal of this.#refusals.values()) refusal.askAt = Number.NEGATIVE_INFINITY
  }
}
