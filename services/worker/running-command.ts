import type { Task } from '#fleet/task.ts'

/** A running command of a task. */
export interface RunningCommand {
  /** Settles when the command and all its children have ended. Rejects when it could not be started. */
  readonly ended: Promise<CommandEnd>
  /** What stands on a line that has no end yet, as a question does; empty: nothing. */
  openLine?(): string
  /** Whether there was a sign of its work since this was last asked. Absent where nobody can look. */
  hasWorked?(): Promise<boolean>
  /** Ends it: TERM, and KILL to the whole group after this time. */
  stop(graceMs: number): void
}

export interface CommandEnd {
  readonly exitCode: number | null
  readonly signal: string | null
  readonly tail: string
}

export type StartCommand = (task: Task, onLine: (line: string) => void) => RunningCommand
