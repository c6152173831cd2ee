import { CODES, type Code, S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Metrics } from '#runtime/metrics.ts'
import type { RefusedCalls } from './refused-calls.ts'

/** Refusals that are the caller's fault are all counted, and for each code logged once in so long. */
const LOGGED_EVERY_MS = 10_000

/** Counts and logs what was refused; many bad requests do not become many lines of log. */
export class RequestErrorLog {
  readonly #log: Log
  readonly #clock: Clock
  readonly #counters: Readonly<Record<Code, { add(by?: number): void }>>
  readonly #refusedCalls: Pick<RefusedCalls, 'note'>
  readonly #logged = new Map<Code, { at: number; since: number }>()
  #ids = 0
  readonly #runId: string

  /** `runId` sets the ids of this run of the bridge apart from those of another. */
  constructor(
    metrics: Metrics,
    { log, clock, refusedCalls }: { log: Log; clock: Clock; refusedCalls: Pick<RefusedCalls, 'note'> },
    runId: string,
  ) {
    this.#log = log
    this.#clock = clock
    this.#refusedCalls = refusedCalls
    this.#runId = runId
    const counter = (code: Code) =>
      metrics.counter(`s2_bridge_refused_${code}_total`, `Requests, joins and frames refused as ${code}.`)
    this.#counters = Object.fromEntries(CODES.map((code) => [code, counter(code)])) as Record<
      Code,
      ReturnType<typeof counter>
    >
  }

  /** An id for a request that brings none of its own. */
  nextId(): string {
    this.#ids += 1
    return `${this.#runId}-${this.#ids}`
  }

  /** Answers the id that stands both in the caller's error and in the log; `session` is whom the caller says to be. */
  report(error: unknown, what: string, who: string | null, givenId?: string, session: string | null = null): string {
    const code = error instanceof S2Error ? error.code : 'internal'
    this.#counters[code].add()
    const id = givenId ?? this.nextId()
    this.#refusedCalls.note({ code, what, who, session, request: id })
    if (code === 'internal' || code === 'unknown_outcome') {
      this.#log.error('request failed', { id, what, who, error })
    } else this.#logSometimes(code, { id, what, who, error })
    return id
  }

  #logSometimes(
    code: Code,
    { id, what, who, error }: { id: string; what: string; who: string | null; error: unknown },
  ): void {
    const now = this.#clock.now()
    const logged = this.#logged.get(code) ?? { at: Number.NEGATIVE_INFINITY, since: 0 }
    this.#logged.set(code, logged)
    const { message, cause } = error as Error
    if (now - logged.at < LOGGED_EVERY_MS) {
      logged.since += 1
      this.#log.debug('request refused', { id, code, what, who, why: message })
      return
    }
    this.#log.info('request refused', { id, code, what, who, why: message, cause, alsoSince: logged.since })
    logged.at = now
    logged.since = 0
  }
}
