import { isPassing } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import { Loop } from '#runtime/loop.ts'
import type { Life } from '#runtime/run.ts'
import type { Store } from '#store/store.ts'
import { AuditHeads, openAuditKey, webhookPlace } from './audit-heads.ts'
import type { Config } from './config.ts'

const MINUTE_MS = 60_000
const RETRY = { firstMs: 400, mostMs: 5_000 }

/**
 * Repeats `store.tend`. Trouble that passes by itself is waited for: the bridge goes on answering and taking beats. Any
 * other ends the program.
 */
export function tendStore(
  store: Store,
  bridge: { status(): string },
  { clock, chance, log, health, draining, round, fail }: Life,
): Loop {
  const failing = health.metrics.counter(
    's2_bridge_tending_failures_total',
    'Rounds of upkeep of the store that failed.',
  )
  const pauses = new Pauses(RETRY, chance)
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const waitMs = await store.tend()
      pauses.succeeded()
      health.trouble('store', null)
      round(bridge.status())
      return waitMs
    },
    onError: (error) => {
      failing.add()
      const waitMs = pauses.failed()
      log.warn('store upkeep failed, retrying', { error, failures: pauses.failures })
      health.trouble('store', (error as Error).message)
      if (!isPassing(error)) fail(error as Error)
      return waitMs
    },
  })
}

/** Forgets what is old, when the schedule says so. The wall clock may be set meanwhile, so it is looked at every minute. */
export function forgetOnSchedule({ housekeeping, keepMs }: Config, store: Store, { clock, log, draining }: Life): Loop {
  let lookedAt = clock.wall()
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const now = clock.wall()
      const isDue = housekeeping.next(lookedAt) <= now
      lookedAt = now
      if (isDue) log.info('housekeeping done', { forgotten: await store.prune(keepMs) })
      return Math.max(0, Math.min(MINUTE_MS, housekeeping.next(now) - clock.wall()))
    },
    onError: (error) => {
      log.error('housekeeping failed, retrying when it is due again', { error })
      return MINUTE_MS
    },
  })
}

/** Signs the end of the audit trail every minute, and keeps it in the state folder and where the settings say. */
export async function keepAuditHeads(config: Config, store: Store, life: Life): Promise<Loop> {
  const { clock, log, draining } = life
  const places = await Promise.all(
    config.auditHeads.map(async (each) => {
      if ('post' in each) return webhookPlace(each.post)
      const { gitPlace } = await import('./git-head-place.ts') // only fleets that have such a remote pay for it
      return gitPlace(each.git, life)
    }),
  )
  const heads = new AuditHeads(config.state, store, await openAuditKey(config.state), places, life)
  return new Loop({
    clock,
    signal: draining,
    step: () => heads.round(),
    onError: (error) => {
      log.warn('audit head not written, retrying', { error })
      return MINUTE_MS
    },
  })
}
