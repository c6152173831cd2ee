import type { AgentVerdict, ShownActivity } from '#fleet/verdict.ts'
import type { Clock } from '#runtime/clock.ts'
import { RestByCost } from '#runtime/rest-by-cost.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import type { FleetObservation } from './fleet-observation.ts'
import type { WorkVerdicts } from './work-verdicts.ts'

/** Writing verdicts may take one part in so many of the watchdog's time: deadlines come first. */
const WRITE_SHARE = 200

export interface VerdictWriterParts {
  readonly observation: Pick<FleetObservation, 'fleet' | 'clients' | 'revision' | 'roundAt'>
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
    await store.judge(new Verdicts(observation, work, clock.wall() - begun))
    this.#writtenRevision = revision
    this.#writtenAt = clock.now()
    this.#cost.note(this.#writtenAt - begun)
    return 0
  }
}

/** The verdicts as they are when they are asked for: those of a large fleet are not all held at once. */
class Verdicts implements Iterable<AgentVerdict> {
  readonly #observed: Pick<FleetObservation, 'fleet' | 'clients'>
  readonly #work: Pick<WorkVerdicts, 'of'>
  /** What takes a time of the observer's clock to the wall clock. */
  readonly #offset: number

  constructor(observed: Pick<FleetObservation, 'fleet' | 'clients'>, work: Pick<WorkVerdicts, 'of'>, offset: number) {
    this.#observed = observed
    this.#work = work
    this.#offset = offset
  }

  *[Symbol.iterator](): Generator<AgentVerdict> {
    for (const { agent, verdict, since, host, isNew, knownSince } of this.#observed.fleet.standings()) {
      const shown = isNew ? { verdict: 'new' as const, since: knownSince } : { verdict, since }
      const judged = { agent, host, ...shown, since: Math.round(this.#offset + shown.since) }
      const isHeard = shown.verdict === 'alive'
      const work = isHeard ? this.#work.of(agent) : undefined
      yield { ...judged, ...work, activity: isHeard ? this.#activityOf(agent) : null }
    }
  }

  /** Of an agent that is not heard nobody knows what its client does. */
  #activityOf(agent: string): ShownActivity | null {
    const standing = this.#observed.clients.of(agent)
    return standing === null ? null : { ...standing.activity, since: Math.round(this.#offset + standing.since) }
  }
}
