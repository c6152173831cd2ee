import { redact } from '#fleet/redact.ts'
import { collectStartGarbage } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { noteServedStore } from '#spool/served-store.ts'
import { databaseIn, openStore } from '#store/open-store.ts'
import { type Config, readConfig } from './config.ts'
import { openBridge } from './open-bridge.ts'
import { forgetOnSchedule, tendStore } from './upkeep.ts'

/** Serves the fleet's store: to hosts over signed HTTP and one WebSocket each, to this host over a unix socket. */
export const program: Program<Config> = {
  name: 'bridge',
  about:
    "Keeps the fleet's messages, tasks and beats in one database, and serves them to hosts over HTTP and WebSocket.",
  redact,
  readConfig,
  start,
}

/** By then the work of a start is done, and its memory can be given back. */
const SETTLED_MS = 3_000

async function start(config: Config, life: Life): Promise<void> {
  const { clock, chance, log, draining, stack, fail, takesLong } = life
  const troubles = new TroubleLog({ log, health: life.health })
  const store = stack.use(
    await openStore(config.store, {
      clock,
      chance,
      log,
      onBroken: fail,
      onLong: takesLong,
      onTrouble: (trouble) => {
        if (trouble === null) troubles.over('database')
        else troubles.met('database', trouble.message, `${trouble.message}; ${trouble.next}`)
      },
      onWarning: (topic, warning) => {
        life.health.warning(topic, warning === null ? null : `${warning.message}; ${warning.next}`)
        if (warning === null) log.info('warning is over', { topic })
        else log.warn('warning', { topic, why: warning.message, next: warning.next })
      },
    }),
  )
  if (databaseIn(config.store) !== null) {
    await noteServedStore(config.state, config.store).catch((error) => log.warn('store not noted', { error }))
  }
  const housekeeping = forgetOnSchedule(config, store, life)
  stack.defer(() => housekeeping.done)
  const bridge = stack.use(await openBridge(config, store, life))
  const upkeep = tendStore(store, bridge, life)
  stack.defer(() => upkeep.done)
  log.info('listening', { url: bridge.url, admin: config.admin })
  clock.sleep(SETTLED_MS, draining).then(collectStartGarbage, () => undefined)
}
