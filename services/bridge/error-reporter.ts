import { CODES, type Code, S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Metrics } from '#runtime/metrics.ts'

/** Of one kind of refusal that is the caller's fault, one in so long is logged; all are counted. */
const TOLD_EVERY_MS = 10_000

/** Counts what was refused, and tells of it without letting a flood of bad requests become a flood of lines. */
export class ErrorReporter {
  readonly #log: Log
  readonly #clock: Clock
  readonly #counters: Readonly<Record<Code, { add(by?: number): void }>>
  readonly #told = new Map<Code, { at: number; since: number }>()
  #ids = 0
  readonly #life: string

  /** `life` sets the ids of this life of the bridge apart from those of another. */
  constructor(metrics: Metrics, { log, clock }: { log: Log; clock: Clock }, life: string) {
    this.#log = log
    this.#clock = clock
    this.#life = life
    const counter = (code: Code) =>
      metrics.counter(`s2_bridge_refused_${code}_total`, `Requests, joins and frames refused as ${code}.`)
    this.#counters = Object.fromEntries(CODES.map((code) => [code, counter(code)])) as Record<
      Code,
      ReturnType<typeof counter>
    >
  }

  /** Answers the id that joins what the caller sees with what the log says. */
  report(error: unknown, what: string, who: string | null, givenId?: string): string {
    const code = error instanceof S2Error ? error.code : 'internal'
    this.#counters[code].add()
    this.#ids += 1
    const id = givenId ?? `${this.#life}-${this.#ids}`
    if (code === 'internal' || code === 'unknown_outcome') {
      this.#log.error('request failed', { id, what, who, error })
    } else this.#tellSometimes(code, { id, what, who, error })
    return id
  }

  #tellSometimes(
    code: Code,
    { id, what, who, error }: { id: string; what: string; who: string | null; error: unknown },
  ): void {
    const now = this.#clock.now()
    const told = this.#told.get(code) ?? { at: Number.NEGATIVE_INFINITY, since: 0 }
    this.#told.set(code, told)
    const { message, cause } = error as Error
    if (now - told.at < TOLD_EVERY_MS) {
      told.since += 1
      this.#log.debug('refused', { id, code, what, who, why: message })
      return
    }
    this.#log.info('refused', { id, code, what, who, why: message, cause, alsoSince: told.since })
    told.at = now
    told.since = 0
  }
}
