import { EVERY_CHANNEL, unitOf } from '#fleet/incident.ts'
import type { Clock } from '#runtime/clock.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Env } from '#runtime/read-settings.ts'
import { runCommand } from '#runtime/run-command.ts'
import type { Store } from '#store/store.ts'

export interface CloseUnitIncidentsParts {
  readonly store: Pick<Store, 'incidents' | 'closeIncident'>
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'debug'>
  readonly signal: AbortSignal
  /** The state folder, where the programs of this host answer for their health. */
  readonly state: string
  /** Whether the service manager has this unit running. */
  isActive(unit: string): Promise<boolean>
}

const LOOK_MS = 5_000
/** How long the service manager may take to answer. */
const ANSWER_MS = 5_000
/** How long a program has to be ready before its incident is closed: one that fails once more is still the same incident. */
const STEADY_MS = 20_000

/**
 * Closes incidents of failed units that run again. The service manager opens them (`s2 incident open`) and does not say when
 * a unit is back, so the programs themselves are asked.
 */
export function closeUnitIncidents(parts: CloseUnitIncidentsParts): Loop {
  const { store, clock, log, signal } = parts
  const upSince = new Map<string, number>()
  return new Loop({
    clock,
    signal,
    step: async () => {
      const failed = (await store.incidents({ open: true })).filter((incident) => unitOf(incident) !== null)
      for (const incident of failed) {
        const { cause } = incident
        const since = (await isUp(parts, unitOf(incident) ?? '')) ? (upSince.get(cause) ?? clock.now()) : null
        if (since === null) upSince.delete(cause)
        else upSince.set(cause, since)
        if (since === null || clock.now() - since < STEADY_MS) continue
        upSince.delete(cause)
        const outcome = `${unitOf(incident)} runs again`
        if (await store.closeIncident(cause, [EVERY_CHANNEL], outcome)) log.info('failed unit runs again', { cause })
      }
      return LOOK_MS
    },
    onError: (error) => {
      log.debug('incidents of failed units cannot be read, retrying', { error })
      return LOOK_MS
    },
  })
}

/** The program says so itself, or the service manager where the program answers elsewhere. */
async function isUp({ state, isActive, clock }: CloseUnitIncidentsParts, unit: string): Promise<boolean> {
  const program = unit.replace(/^s2-/, '')
  const health = await askHealth(program, { path: healthSocket(state, program) }, clock)
  return health.state === 'away' ? await isActive(unit) : health.state === 'ready'
}

/** Asks the service manager, the machine's and our own; where there is none, nothing is active. */
export function askManager(env: Env, clock: Clock, signal: AbortSignal): CloseUnitIncidentsParts['isActive'] {
  return async (unit) => {
    for (const manager of ['--system', '--user']) {
      const argv = ['systemctl', manager, 'is-active', '--quiet', unit] as const
      const bounds = { timeoutMs: ANSWER_MS, outputMax: 0, beyond: 'keep_tail' } as const
      const ending = await runCommand({ argv, env, ...bounds }, clock, signal).catch(() => null)
      if (ending?.code === 0) return true
    }
    return false
  }
}
