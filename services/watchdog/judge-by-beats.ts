import type { ProcessFinding } from '#fleet/agent-processes.ts'
import { type Clock, momentOf } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import type { FleetObservation, Observed, PassedVerdict } from './fleet-observation.ts'
import type { OpenTasksState } from './open-tasks-state.ts'

export interface ReadBeatsParts {
  readonly observation: FleetObservation
  readonly board: Pick<OpenTasksState, 'grace' | 'hasWaitedFor'>
  readonly store: Pick<Store, 'pulses'>
  readonly clock: Clock
  readonly log: Log
}

/** What came of reading the beats. */
export interface BeatReading {
  /** Something is to be looked at. */
  readonly isNews: boolean
  /** The watchdog was paused, so that nothing that supervisors said before holds. */
  readonly wasPaused: boolean
  /** Until the next reading is wanted, milliseconds. */
  readonly waitMs: number
}

/**
 * Reads the beats, and passes the verdicts that are due. It does nothing else and waits for nothing else, so that a verdict
 * is passed at its moment, whatever is being done about the one before. Throws what the store throws.
 */
export async function judgeByBeats(
  { silentAfterMs }: Pick<WatchConfig, 'silentAfterMs'>,
  { observation, board, store, clock, log }: ReadBeatsParts,
): Promise<BeatReading> {
  const before = momentOf(clock)
  const read = await store.pulses(observation.cursor)
  const { pause, isGrace, isNews } = observation.takeBeats(read, before, momentOf(clock))
  if (isGrace) board.grace(before.now)
  if (pause !== null) {
    log.warn('watchdog was paused: no verdicts until the grace ends', { why: pause, graceMs: silentAfterMs })
  }
  logVerdicts(observation.judge(before.now, clock.now()), observation, log)
  return {
    isNews: isNews || observation.unanswered.length > 0 || board.hasWaitedFor(observation.readAt),
    wasPaused: pause !== null,
    waitMs: observation.planNextRead(clock.now()),
  }
}

/** Logs losses and returns; that an agent is late is hardly news, or that one is silent that was never heard. */
export function logVerdicts(passed: readonly PassedVerdict[], { fleet, processes }: Observed, log: Log): void {
  for (const { agent, from, to } of passed) {
    if (fleet.standing(agent)?.isNew === true) continue
    if (to === 'gone') log.info('verdict passed', { agent, from, to, why: whyOf(processes.of(agent)) })
    else if ([from, to].some((each) => each === 'silent' || each === 'gone'))
      log.info('verdict passed', { agent, from, to })
  }
}

function whyOf(found: ProcessFinding | null): string {
  return found === null ? '' : `${found.agentProcess.name}: ${found.agentProcess.why}`
}
