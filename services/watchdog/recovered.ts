import { unitOf } from '#fleet/incident.ts'
import { askHealth, healthSocket } from '#runtime/ask.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Store } from '#store/store.ts'

export interface RecoveredParts {
  readonly store: Pick<Store, 'incidents' | 'closeIncident'>
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'debug'>
  readonly signal: AbortSignal
  /** The state folder, where the programs of this host answer for their health. */
  readonly state: string
  readonly channels: readonly string[]
}

const LOOK_MS = 5_000
/** How long a program has to be ready before it counts as up again: one that falls once more is still the same trouble. */
const STEADY_MS = 20_000

/**
 * Closes incidents of units that had failed and are up again. The service manager opens them (`s2 incident open`); that a unit
 * is back it tells nobody, so the programs themselves are asked.
 */
export function closeRecovered({ store, clock, log, signal, state, channels }: RecoveredParts): Loop {
  const upSince = new Map<string, number>()
  return new Loop({
    clock,
    signal,
    step: async () => {
      const failed = (await store.incidents({ open: true })).filter((incident) => unitOf(incident) !== null)
      for (const incident of failed) {
        const { cause } = incident
        const since = (await isUp(state, unitOf(incident) ?? '')) ? (upSince.get(cause) ?? clock.now()) : null
        if (since === null) upSince.delete(cause)
        else upSince.set(cause, since)
        if (since === null || clock.now() - since < STEADY_MS) continue
        upSince.delete(cause)
        if (await store.closeIncident(cause, channels)) log.info('a unit that had failed is up again', { cause })
      }
      return LOOK_MS
    },
    onError: (error) => {
      log.debug('units that had failed cannot be asked for now', { error })
      return LOOK_MS
    },
  })
}

async function isUp(state: string, unit: string): Promise<boolean> {
  const program = unit.replace(/^s2-/, '')
  return (await askHealth(program, { path: healthSocket(state, program) })).state === 'ready'
}
