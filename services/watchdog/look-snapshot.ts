import type { WatchConfig } from './config.ts'
import type { Departure } from './departed-agents.ts'
import type { LossHistory } from './flapping-agents.ts'
import type { Observed } from './fleet-observation.ts'
import type { OpenIncident } from './open-incidents.ts'
import type { Board } from './open-tasks-state.ts'
import type { AgentLoss } from './reported-losses.ts'

/**
 * What a look decides by: a view of what its owners know at this moment, through which nothing can be changed. Nothing is
 * copied, so a large fleet costs no more than a small one. What is to be remembered is part of the decision.
 */
export interface Snapshot {
  /** When the look began, by the watchdog's clock that never jumps. */
  readonly at: number
  /** The same moment by its wall clock. */
  readonly wall: number
  readonly config: DecisionConfig
  readonly observed: Observed
  readonly board: Board
  /** The tasks were read in this look: moves are decided on no others. */
  readonly areTasksFresh: boolean
  /** What incidents tell of lost agents, by agent. */
  readonly losses: ReadonlyMap<string, AgentLoss>
  /** How often agents were lost lately. */
  readonly lossHistory: LossHistory
  /** Open incidents by their cause. */
  readonly openIncidents: ReadonlyMap<string, OpenIncident>
  /** Agents that somebody waits for and that left the fleet on purpose, and how. */
  readonly departures: ReadonlyMap<string, Departure>
}

type DecisionConfig = Pick<
  WatchConfig,
  | 'lateAfterMs'
  | 'silentAfterMs'
  | 'leaseMs'
  | 'moveEveryMs'
  | 'pendingAfterMs'
  | 'takeWithinMs'
  | 'stallAfterMs'
  | 'onStall'
  | 'attemptsMax'
  | 'fallback'
>
