import type { Log } from './log.ts'

export interface TroubleLogParts {
  readonly log: Log
  readonly health: { trouble(topic: string, why: string | null): void }
}

/** An error that has a code for programs and the next step for people, as `S2Error` has. */
interface CodedError {
  readonly code?: string
  readonly next?: string
  readonly cause?: unknown
}

/** Says what is wrong once per cause, and once when it is over, however often it is met. */
export class TroubleLog {
  readonly #parts: TroubleLogParts
  readonly #causes = new Map<string, string>()

  constructor(parts: TroubleLogParts) {
    this.#parts = parts
  }

  /**
   * `cause` tells one trouble of a topic from the next; `why` is for people. A `grave` one keeps the host from its work;
   * the others are told and no more.
   */
  met(topic: string, cause: string, why: string, error?: unknown, weight: 'grave' | 'light' = 'grave'): void {
    if (this.#causes.get(topic) === cause) return
    this.#causes.set(topic, cause)
    if (weight === 'grave') this.#parts.health.trouble(topic, why)
    this.#parts.log.warn('trouble', { topic, why, ...(error === undefined ? {} : reasonsOf(error)) })
  }

  /** The same for an error as it was thrown. */
  threw(topic: string, error: unknown): void {
    const { code = 'internal', next } = error as CodedError
    this.met(topic, code, `${(error as Error).message}${next === undefined ? '' : `; ${next}`}`, error)
  }

  over(topic: string): void {
    if (!this.#causes.delete(topic)) return
    this.#parts.health.trouble(topic, null)
    this.#parts.log.info('trouble is over', { topic })
  }
}

function reasonsOf(error: unknown): CodedError {
  const { code, next, cause } = error as CodedError
  return code === undefined ? { cause: error } : { code, ...(next === undefined ? {} : { next }), cause: cause ?? error }
}
