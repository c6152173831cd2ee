import type { Timeline } from './clock.ts'
import type { History } from './history.ts'
import type { Lapses } from './lapses.ts'
import type { Bridge } from './network.ts'
import type { Settings } from './settings.ts'
import type { Watchman } from './watchman.ts'
import type { Witness } from './witness.ts'

/** What a rule sees of its world. */
export interface RuleParts {
  readonly timeline: Timeline
  readonly history: History
  readonly settings: Settings
  readonly lapses: Lapses
  readonly bridge: Pick<Bridge, 'idleMs' | 'life' | 'isAsleep'>
  readonly watchmen: readonly Pick<Watchman, 'life' | 'machine'>[]
  /** When a clock on a wall was set last; null where none was. */
  readonly clocks: { steppedAt(): number | null }
  /** A fault that the programs are known to have shows. */
  onKnown(fault: KnownFault): void
  readonly witness: Pick<Witness, 'agentOf' | 'heardAt' | 'openTasks' | 'openIncidents' | 'signsOf' | 'sickUntil'>
  /** How many requests of an agent about its tasks came to nothing within the last so many milliseconds. */
  failures(agent: string, withinMs: number): number
  /** The same of its requests for its credential: no answer came. */
  lostLooks(agent: string, withinMs: number): number
  roleOf(agent: string): string
}

/**
 * Faults that the programs are known to have: what follows from one breaks no world, and is counted. With its mend it goes
 * from here, and its rule holds.
 */
export const KNOWN_FAULTS = [
  // Two watchdogs that see all agents, or the beats, differently for a while, tell of it and of its end by turns.
  'two watchdogs that disagree',
  // The watchdog's compare-and-set is on the epoch, which a lease does not raise: it may take what was begun a moment ago.
  'a move that crosses a lease',
  // Whose clock is not the orchestrator's takes no new credential, and falls out with the old one until the clocks meet.
  'a credential of another time',
] as const
export type KnownFault = (typeof KNOWN_FAULTS)[number]
