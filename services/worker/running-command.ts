import type { Task } from '#fleet/task.ts'
import type { Usage } from '#fleet/usage.ts'

/** A running command of a task. */
export interface RunningCommand {
  /** Settles when the command and all its children have ended. Rejects when it could not be started. */
  readonly ended: Promise<CommandEnd>
  /** What stands on a line that has no end yet, as a question does; empty: nothing. */
  openLine?(): string
  /** Whether there was a sign of its work since this was last asked. Absent where nobody can look. */
  hasWorked?(): Promise<boolean>
  /** What its client used so far; absent where nobody can say. */
  readonly usage?: Usage
  /** Ends it: TERM, and KILL to the whole group after this time. */
  stop(graceMs: number): void
}

export interface CommandEnd {
  readonly exitCode: number | null
  readonly signal: string | null
  readonly tail: string
  /** What a client that S2 knows said of the end, by its own codes; absent for a command. */
  readonly client?: ClientWord
}

/** `answered`: it said how the task ended; `died`: it ended without a word on that; else the place is to blame. */
export type ClientWord = 'answered' | 'died' | ClientFault

/** Why a client cannot work (`sick`), or may not for a while, whatever the task is. `until`: milliseconds since 1970. */
export interface ClientFault {
  readonly state: 'sick' | 'parked'
  readonly why: string
  readonly until: number | null
}

export type StartCommand = (task: Task, onLine: (line: string) => void) => RunningCommand
