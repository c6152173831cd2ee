import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isOpen, type Task } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'

/** What an agent does about a task that it has lost. */
export const STOP = 'stop working on it; what you have done so far is best sent to the orchestrator as a message'

export function heldByAnother(id: string): S2Error {
  return new S2Error('conflict', `another client works on task ${id}`, {
    next: 'take another task: leave the id out',
  })
}

/** The refusal of whoever speaks of a task that it has ended already. */
export function endedHere(id: string): S2Error {
  return new S2Error('conflict', `task ${id} has ended already, by a report that waits in the outbox of this host`, {
    next: 'nothing is to be done: s2-keepalive carries the report to the bridge',
  })
}

/** The refusal of whoever speaks of a task that it does not hold, or no more. */
export function notHeld(task: Task, session: SessionId): S2Error {
  if (task.holder !== session) {
    const now = task.holder === null ? 'nobody has it' : `${task.holder} has it`
    return new S2Error('stale_epoch', `task ${task.id} is not yours: ${now}, at epoch ${task.epoch}`, { next: STOP })
  }
  if (!isOpen(task.state)) {
    return new S2Error('conflict', `task ${task.id} is ${task.state} already`, {
      next: 'stop working on it: what it ended as stands',
    })
  }
  return new S2Error('conflict', `task ${task.id} is ${task.state}, and you have not taken it`, {
    next: `take it first: take_task with task_id ${task.id}`,
  })
}

/** Says why a task that was asked for by its id was not given. */
export async function refuseTake(store: Pick<Store, 'task'>, session: SessionId, id: string): Promise<never> {
  const task = await store.task(id)
  if (task.holder !== session) {
    throw new S2Error('conflict', `task ${id} is not assigned to you`, {
      next: 'list_tasks shows those that are; a pending one is assigned by the fleet',
    })
  }
  throw new S2Error('conflict', `task ${id} is ${task.state} and cannot be taken now`, {
    next: 'list_tasks shows what is open; a paused task can be taken when its pause is over',
  })
}
