import type { Log } from './log.ts'

/** Knows which troubles were reported, so that each is reported once, and once more when it is over. */
export class KnownTroubles {
  readonly #causes = new Map<string, string>()

  /** Answers whether this cause is new for its topic, and remembers it. */
  isNew(topic: string, cause: string): boolean {
    if (this.#causes.get(topic) === cause) return false
    this.#causes.set(topic, cause)
    return true
  }

  /** Answers whether the topic had a trouble, and forgets it. */
  isOver(topic: string): boolean {
    return this.#causes.delete(topic)
  }
}

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

/** Logs a trouble once for each cause, and once when it is over, however often it occurs; health shows it meanwhile. */
export class TroubleLog {
  readonly #parts: TroubleLogParts
  readonly #known = new KnownTroubles()

  constructor(parts: TroubleLogParts) {
    this.#parts = parts
  }

  /**
   * Reports a trouble. `cause` distinguishes the troubles of a topic; `why` is for people. A `grave` one also makes the program
   * not ready.
   */
  met(topic: string, cause: string, why: string, error?: unknown, weight: 'grave' | 'light' = 'grave'): void {
    if (!this.#known.isNew(topic, cause)) return
    if (weight === 'grave') this.#parts.health.trouble(topic, why)
    this.#parts.log.warn('trouble', { topic, why, ...(error === undefined ? {} : reasonsOf(error)) })
  }

  /** Reports a thrown error as a trouble. */
  threw(topic: string, error: unknown): void {
    const { code = 'internal', next } = error as CodedError
    this.met(topic, code, `${(error as Error).message}${next === undefined ? '' : `; ${next}`}`, error)
  }

  over(topic: string): void {
    if (!this.#known.isOver(topic)) return
    this.#parts.health.trouble(topic, null)
    this.#parts.log.info('trouble is over', { topic })
  }
}

function reasonsOf(error: unknown): CodedError {
  const { code, next, cause } = error as CodedError
  return code === undefined
    ? { cause: error }
    : { code, ...(next === undefined ? {} : { next }), cause: cause ?? error }
}
