import type { ProcessFinding } from '#fleet/agent-processes.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import type { Moment, Passed, View } from './view.ts'

export interface ReadBeatsParts {
  readonly store: Pick<Store, 'pulses'>
  readonly clock: Clock
  readonly log: Log
}

/** What came of reading the beats. */
export interface BeatReading {
  /** Something is to be looked at. */
  readonly isNews: boolean
  /** It was away itself, so that nothing it was told holds. */
  readonly hasBlinked: boolean
  /** Until the next reading is wanted, milliseconds. */
  readonly waitMs: number
}

/**
 * Reads the beats, and passes the verdicts that are due. It does nothing else and waits for nothing else, so that a verdict
 * is passed at its moment, whatever is being done about the one before. Throws what the store throws.
 */
export async function readBeats(
  view: View,
  config: WatchConfig,
  { store, clock, log }: ReadBeatsParts,
): Promise<BeatReading> {
  const before = moment(clock)
  const pulses = await store.pulses(view.cursor)
  const sighting = view.sight(pulses, before, moment(clock))
  if (sighting.blink !== null) {
    log.warn('did not see for a while: nobody is convicted for a full silence', {
      why: sighting.blink,
      graceMs: config.silentAfterMs,
    })
  }
  logVerdicts(view.judge(before.now, clock.now()), view, log)
  const deadline = view.blind ? Number.POSITIVE_INFINITY : view.roster.nextDeadline()
  view.waitMs = Math.max(0, Math.min(view.readAgainMs, deadline - clock.now()))
  const isNews = sighting.isNews || view.changes.length > 0
  return { isNews, hasBlinked: sighting.blink !== null, waitMs: view.waitMs }
}

/** Tells of whom was lost and who is back; that somebody is late is hardly news, or that one is silent who was never heard. */
export function logVerdicts(passed: readonly Passed[], { agentProcesses, roster }: View, log: Log): void {
  for (const { agent, from, to } of passed) {
    if (roster.standing(agent)?.isNew === true) continue
    if (to === 'gone') log.info('verdict', { agent, from, to, why: whyOf(agentProcesses.of(agent)) })
    else if ([from, to].some((each) => each === 'silent' || each === 'gone')) log.info('verdict', { agent, from, to })
  }
}

function whyOf(found: ProcessFinding | null): string {
  return found === null ? '' : `${found.agentProcess.name}: ${found.agentProcess.why}`
}

function moment(clock: Clock): Moment {
  return { now: clock.now(), wall: clock.wall() }
}
