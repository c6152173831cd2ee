import type { AgentVerdict } from '#fleet/liveness.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import { COST_SHARE, type View } from './view.ts'

/**
 * Writes the verdicts down for people to read when something made them dirty, as every round does; those of a large fleet
 * less often, as that takes its time. Answers how long to wait, milliseconds.
 */
export async function tellVerdicts(
  view: View,
  config: WatchConfig,
  { store, clock }: { readonly store: Pick<Store, 'judge'>; readonly clock: Clock },
): Promise<number> {
  const begun = clock.now()
  const restMs = view.judgedAt + COST_SHARE * view.judgeCostMs - begun
  if (view.roundAt === Number.NEGATIVE_INFINITY || !view.dirty) return config.roundMs // whoever makes it dirty nudges
  if (restMs > 0) return restMs
  view.dirty = false
  try {
    await store.judge(verdictsOf(view, clock.wall() - begun))
  } catch (error) {
    view.dirty = true
    throw error
  }
  view.judgedAt = clock.now()
  view.judgeCostMs = view.judgedAt - begun
  return 0
}

/** `offset` takes a time of the observer's clock to the wall clock. */
function verdictsOf({ roster }: View, offset: number): AgentVerdict[] {
  const verdicts: AgentVerdict[] = []
  for (const { agent, verdict, since, host } of roster.standings()) {
    verdicts.push({ agent, verdict, host, since: Math.round(offset + since) })
  }
  return verdicts
}
