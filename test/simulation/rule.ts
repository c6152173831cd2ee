import type { NewIncident } from '#fleet/incident.ts'
import type { Move, Task } from '#fleet/task.ts'
import type { Lapse } from './lapses.ts'

/**
 * A promise that is held against all that happens in a world. To add one: write a function that makes it, and name it in
 * `RULES`. It is told of what concerns it as the witness sees it, and breaks a world by `history.violate`.
 */
export interface Rule {
  /** A task was taken from its holder, or given to its first. */
  onMoved?(before: Task, move: Move, by: string): void
  /** The command of a task was started. */
  onStarted?(task: Task): void
  onOpened?(incident: NewIncident, by: string): void
  /** Something was broken and is not any more. */
  onLapseOver?(lapse: Lapse): void
  onClosed?(incident: OpenIncident, by: string): void
}

/** An incident, and the time of the world at which it was opened. */
export interface OpenIncident extends NewIncident {
  readonly openedAt: number
}
