import { type ForeignAct, type ForeignTaskView, takeAssignment } from './foreign-assignments.ts'
import { applyTaskMessage } from './foreign-tasks.ts'
import { conversationOf, type SessionId, sideOf } from './session-id.ts'
import { isLeased, isOpen, type Task } from './task.ts'
import type { TaskMessage } from './task-messages.ts'

/** What a message of an agent that knows nothing of S2 makes of the tasks. The acts are to be done in their order. */
export function takeTaskMessage(
  view: ForeignTaskView,
  from: SessionId,
  taskMessage: TaskMessage,
  now: number,
): readonly ForeignAct[] {
  if (taskMessage.type === 'task_assignment')
    return sideOf(from) === 'a' ? takeAssignment(view, from, taskMessage, now) : []
  return tasksMeant(view, from, taskMessage).flatMap((task) => {
    const decision = applyTaskMessage(task, from, taskMessage, view.heldEpoch(task.id, from), now)
    return decision === null ? [] : [{ before: task, decision, name: null }]
  })
}

/**
 * Which of the tasks of one name a message is about: an open one rather than one that has ended, one that is held here rather
 * than one that has moved. Of several, an acknowledgment is for one that waits, and a report for one that was begun; then the
 * oldest counts, and of those that have ended the newest. Whoever withdraws a name withdraws all that are open.
 */
function tasksMeant(
  view: ForeignTaskView,
  from: SessionId,
  { type, task: name, ...rest }: TaskMessage,
): readonly Task[] {
  const conversation = conversationOf(from)
  const known = view.named(conversation, name)
  const withId = known.length > 0 ? null : view.withId(conversation, name)
  const named = withId === null ? known : [withId]
  const open = named.filter(({ state }) => isOpen(state))
  if (sideOf(from) === 'a' && 'status' in rest && rest.status === 'cancelled') return open
  const held = open.filter(({ holder }) => holder === from)
  const candidates = held.length > 0 ? held : open
  const isLikely = ({ state }: Task): boolean => (type === 'acknowledgment' ? state === 'assigned' : isLeased(state))
  const meant = candidates.find(isLikely) ?? candidates[0] ?? named.at(-1)
  return meant === undefined ? [] : [meant]
}
