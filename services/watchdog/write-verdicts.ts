import type { AgentVerdict } from '#fleet/verdict.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import type { View } from './view.ts'

/**
 * Writes the verdicts down for people to read when something made them dirty, as every round does; those of a large fleet
 * less often, as that takes its time, and once a round all the same. Answers how long to wait, milliseconds.
 */
export async function writeVerdicts(
  view: View,
  config: WatchConfig,
  { store, clock }: { readonly store: Pick<Store, 'judge'>; readonly clock: Clock },
): Promise<number> {
  const begun = clock.now()
  const restMs = view.judgedAt + view.judgeCost.restMs(config.roundMs) - begun
  if (view.roundAt === Number.NEGATIVE_INFINITY || !view.dirty) return config.roundMs // whoever makes it dirty nudges
  if (restMs > 0) return restMs
  view.dirty = false
  try {
    await store.judge(new Verdicts(view, clock.wall() - begun))
  } catch (error) {
    view.dirty = true
    throw error
  }
  view.judgedAt = clock.now()
  view.judgeCost.note(view.judgedAt - begun)
  return 0
}

/** The verdicts as they are when they are asked for: those of a large fleet are not all held at once. */
class Verdicts implements Iterable<AgentVerdict> {
  readonly #view: View
  /** What takes a time of the observer's clock to the wall clock. */
  readonly #offset: number

  constructor(view: View, offset: number) {
    this.#view = view
    this.#offset = offset
  }

  *[Symbol.iterator](): Generator<AgentVerdict> {
    for (const { agent, verdict, since, host, isNew, knownSince } of this.#view.roster.standings()) {
      const told = isNew ? { verdict: 'new' as const, since: knownSince } : { verdict, since }
      yield { agent, host, ...told, since: Math.round(this.#offset + told.since) }
    }
  }
}
