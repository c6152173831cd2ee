import { randomBytes } from 'node:crypto'
import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { ANY_ROLE, checkTask, type NewTask } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { TaskWish } from './member.ts'

/** The task that an agent wishes to give, with an id of its own where it names none. Throws `not_found`, `invalid`, `too_large`. */
export async function wishedTask(
  { to, role, id, deadlineMs, ...rest }: TaskWish,
  createdBy: SessionId,
  store: Pick<Store, 'conversations'>,
  clock: Pick<Clock, 'wall'>,
): Promise<NewTask> {
  const task: NewTask = {
    ...rest,
    id: id ?? `t-${randomBytes(5).toString('hex')}`,
    role: role === ANY_ROLE ? null : role,
    holder: to === null ? null : await holderNamed(store, to),
    deadline: deadlineMs === null ? null : clock.wall() + deadlineMs,
    createdBy,
  }
  checkTask(task)
  return task
}

/** The worker's end of an agent's newest conversation. */
async function holderNamed(store: Pick<Store, 'conversations'>, to: string): Promise<SessionId> {
  const found = (await store.conversations()).findLast(({ agents, id }) => agents.b === to || sessionId(id, 'b') === to)
  if (found !== undefined) return sessionId(found.id, 'b')
  throw new S2Error('not_found', `no task was added: there is no agent ${JSON.stringify(to)}`, {
    next: 'list_agents shows the agents; leave `to` out and name a role to let any of that role do it',
  })
}
