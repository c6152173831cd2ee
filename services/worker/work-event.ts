import type { Code } from '#fleet/errors.ts'
import type { ReturnCause } from '#fleet/task.ts'
import type { AfterRefusal } from './refused-reports.ts'

/** An event of the loop, for people and logs. */
export type WorkEvent =
  | { readonly event: 'idle'; readonly waitingReports?: number }
  | { readonly event: 'started'; readonly task: string; readonly epoch: number; readonly priority: string }
  | { readonly event: 'output'; readonly task: string; readonly line: string }
  | {
      readonly event: 'ended'
      readonly task: string
      readonly epoch: number
      readonly exitCode: number | null
      readonly signal: string | null
      /** Why its command could not be started; left out where it was. */
      readonly why?: string
    }
  | { readonly event: 'reported'; readonly task: string; readonly epoch: number; readonly state: string }
  | {
      /** The task went back unharmed, for another agent or another time. */
      readonly event: 'returned'
      readonly task: string
      readonly epoch: number
      readonly cause: ReturnCause
      readonly why: string
    }
  | {
      /** No command can work here, or none may for a while: nothing is begun before the next probe. */
      readonly event: 'sick' | 'parked'
      readonly why: string
      /** Until when it is said to last, as ISO 8601. */
      readonly until: string | null
      readonly probeInMs: number
    }
  /** The next task shows whether commands can work here again. */
  | { readonly event: 'probing'; readonly why: string }
  | { readonly event: 'well' }
  | {
      /** The bridge refused a report for good. */
      readonly event: 'refused'
      readonly task: string
      readonly epoch: number
      readonly what: 'progress' | 'result'
      readonly why: string
      readonly code: Code
      readonly then: AfterRefusal
    }
  | {
      readonly event: 'stopping'
      readonly task: string
      readonly epoch: number
      readonly why: StopReason
      /** Why the task was taken away, as the bridge says it. */
      readonly reason?: string
    }
  | { readonly event: 'trouble'; readonly what: string; readonly error: unknown }

/** Why a command is ended: the store gave its task away, the store was unreachable for too long, or the agent has to end. */
export type StopReason = 'lease_lost' | 'lease_unsure' | 'told_to_stop'
