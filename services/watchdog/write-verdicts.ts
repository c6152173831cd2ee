import type { AgentVerdict } from '#fleet/verdict.ts'
import type { Clock } from '#runtime/clock.ts'
import { RestByCost } from '#runtime/rest-by-cost.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import type { FleetLiveness, FleetObservation } from './fleet-observation.ts'
import type { WorkVerdicts } from './work-verdicts.ts'

/** Writing verdicts may take one part in so many of the watchdog's time: deadlines come first. */
const WRITE_SHARE = 200

export interface VerdictWriterParts {
  readonly observation: Pick<FleetObservation, 'fleet' | 'revision' | 'roundAt'>
  readonly store: Pick<Store, 'judge'>
  readonly clock: Clock
  /** What is found of the work of agents that beat: it is shown in place of `alive`. */
  readonly work: Pick<WorkVerdicts, 'of' | 'revision'>
}

/**
 * Writes the verdicts down for people to read when they changed, and with every round; those of a large fleet less often, as
 * that takes its time, and once a round all the same.
 */
export class VerdictWriter {
  readonly #config: Pick<WatchConfig, 'roundMs'>
  readonly #parts: VerdictWriterParts
  readonly #cost = new RestByCost(WRITE_SHARE)
  #writtenAt = Number.NEGATIVE_INFINITY
  #writtenRevision = ''

  constructor(config: Pick<WatchConfig, 'roundMs'>, parts: VerdictWriterParts) {
    this.#config = config
    this.#parts = parts
  }

  /** Whether verdicts changed since they were written. */
  get isDue(): boolean {
    return this.#revision !== this.#writtenRevision
  }

  get #revision(): string {
    return `${this.#parts.observation.revision} ${this.#parts.work.revision}`
  }

  /** Writes them where that is due; answers how long to wait, milliseconds. Throws what the store throws. */
  async step(): Promise<number> {
    const { observation, store, clock, work } = this.#parts
    const { roundMs } = this.#config
    const begun = clock.now()
    if (observation.roundAt === Number.NEGATIVE_INFINITY || !this.isDue) return roundMs // who changes them nudges
    const restMs = this.#writtenAt + this.#cost.restMs(roundMs) - begun
    if (restMs > 0) return restMs
    const revision = this.#revision
    await store.judge(new Verdicts(observation.fleet, work, clock.wall() - begun))
    this.#writtenRevision = revision
    this.#writtenAt = clock.now()
    this.#cost.note(this.#writtenAt - begun)
    return 0
  }
}

/** The verdicts as they are when they are asked for: those of a large fleet are not all held at once. */
class Verdicts implements Iterable<AgentVerdict> {
  readonly #fleet: FleetLiveness
  readonly #work: Pick<WorkVerdicts, 'of'>
  /** What takes a time of the observer's clock to the wall clock. */
  readonly #offset: number

  constructor(fleet: FleetLiveness, work: Pick<WorkVerdicts, 'of'>, offset: number) {
    this.#fleet = fleet
    this.#work = work
    this.#offset = offset
  }

  *[Symbol.iterator](): Generator<AgentVerdict> {
    for (const { agent, verdict, since, host, isNew, knownSince } of this.#fleet.standings()) {
      const shown = isNew ? { verdict: 'new' as const, since: knownSince } : { verdict, since }
      const judged = { agent, host, ...shown, since: Math.round(this.#offset + shown.since) }
      const work = shown.verdict === 'alive' ? this.#work.of(agent) : undefined
      yield work === undefined ? judged : { ...judged, ...work }
    }
  }
}
