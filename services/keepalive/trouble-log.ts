import { S2Error } from '#fleet/errors.ts'
import type { Log } from '#runtime/log.ts'

export interface TroubleLogParts {
  readonly log: Log
  readonly health: { trouble(topic: string, why: string | null): void }
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
    const known =
      error instanceof S2Error ? { code: error.code, next: error.next, cause: error.cause } : { cause: error }
    this.#parts.log.warn('trouble', { topic, why, ...(error === undefined ? {} : known) })
  }

  /** The same for an error as it was thrown. */
  threw(topic: string, error: unknown): void {
    const code = error instanceof S2Error ? error.code : 'internal'
    const next = error instanceof S2Error && error.next !== undefined ? `; ${error.next}` : ''
    this.met(topic, code, `${(error as Error).message}${next}`, error)
  }

  over(topic: string): void {
    if (!this.#causes.delete(topic)) return
    this.#parts.health.trouble(topic, null)
    this.#parts.log.info('trouble is over', { topic })
  }
}
