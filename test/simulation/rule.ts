import type { NewIncident } from '#fleet/incident.ts'
import type { EndReason, Move, Task } from '#fleet/task.ts'
import type { Lapse } from './lapses.ts'

/**
 * A promise that is held against all that happens in a world: told of what concerns it as the witness sees it, by the name of
 * the life that did it, it breaks the world by `history.violate`.
 */
export interface Rule {
  /** A task was taken from its holder, or given to its first. */
  onMoved?(before: Task, move: Move, by: string): void
  /** The command of a task was started. */
  onStarted?(start: Start): void
  /** The command of a task did its work. */
  onDone?(task: Task): void
  /** A task has failed: its holder said so, or a watchdog ended it. */
  onFailed?(task: Task, reason: EndReason | 'reported', by: string): void
  onOpened?(incident: NewIncident, by: string): void
  /** A beat's time has passed. */
  onTick?(): void
  onClosed?(incident: OpenIncident, by: string): void
  /** Something was broken and is not any more. */
  onLapseOver?(lapse: Lapse): void
}

/** The start of a task's command. */
export interface Start {
  readonly task: Task
  readonly agent: string
  /** The life of the agent's program. */
  readonly life: string
  readonly isPlaceWell: boolean
}

/** An incident, and the time of the world at which it was opened. */
export interface OpenIncident extends NewIncident {
  readonly openedAt: number
}
