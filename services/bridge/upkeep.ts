import { isPassing } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import { ScheduleWatch } from '#runtime/cron-schedule.ts'
import { Loop } from '#runtime/loop.ts'
import type { Life } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'
import type { Config } from './config.ts'

const MINUTE_MS = 60_000
const RETRY = { firstMs: 400, mostMs: 5_000 }

type UpkeepLife = Pick<Life, 'clock' | 'chance' | 'log' | 'health' | 'draining' | 'round' | 'fail'>

/**
 * Repeats `store.tend`. Trouble that passes by itself is waited for: the bridge goes on answering and taking beats, so that a
 * round that met it is a finished one, for a start would mend nothing. Any other trouble ends the program.
 */
export function tendStore(
  store: Store,
  bridge: { status(): string },
  { clock, chance, log, health, draining, round, fail }: UpkeepLife,
): Loop {
  const failing = health.metrics.counter(
    's2_bridge_tending_failures_total',
    'Rounds of upkeep of the store that failed.',
  )
  const pauses = new Pauses(RETRY, chance)
  const troubles = new TroubleLog({ log, health })
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const waitMs = await store.tend()
      pauses.succeeded()
      troubles.over('store')
      round(bridge.status())
      return waitMs
    },
    onError: (error) => {
      failing.add()
      troubles.threw('store', error)
      if (isPassing(error)) round(bridge.status())
      else fail(error as Error)
      return pauses.failed()
    },
  })
}

/** Forgets what is old, when the schedule says so. The wall clock may be set meanwhile, so it is looked at every minute. */
export function forgetOnSchedule(
  { housekeeping, keepMs }: Config,
  store: Store,
  { clock, log, draining }: UpkeepLife,
): Loop {
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
