import { isPassing } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import { ScheduleWatch } from '#runtime/cron-schedule.ts'
import { Loop } from '#runtime/loop.ts'
import type { Life } from '#runtime/run.ts'
import type { Store } from '#store/store.ts'
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
  const watch = new ScheduleWatch(housekeeping, clock.wall())
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const now = clock.wall()
      if (watch.isDue(now)) log.info('housekeeping done', { forgotten: await store.prune(keepMs) })
      return Math.max(0, Math.min(MINUTE_MS, housekeeping.next(now) - clock.wall()))
    },
    onError: (error) => {
      log.error('housekeeping failed, retrying when it is due again', { error })
      return MINUTE_MS
    },
  })
}
