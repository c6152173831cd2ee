import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'
import type { LeaseStamp } from './lease-timer.ts'

/** A session that the agent works for, and the store of its tasks. */
export interface WorkerSession {
  readonly session: SessionId
  readonly store: Pick<Store, 'leaseTask' | 'report' | 'noteCondition'>
  /** Which life of the agent this is (`spool/place.ts`), as far as that is known here. */
  readonly place?: string | undefined
  /** The tasks that live clients of this host took by hand: they are not to be interrupted. Left out: none. */
  byHand?(): Promise<readonly string[]>
}

/** A task that was leased for a session, and the time when it was requested. */
export interface LeasedTask extends WorkerSession {
  readonly task: Task
  readonly asked: LeaseStamp
}
