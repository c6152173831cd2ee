import type { Side } from '#fleet/session-id.ts'
import { readTaskMessage, type TaskMessage } from '#fleet/task-messages.ts'
import type { SourceConversation, SourceKind, SourceMessage } from './source-file.ts'

/** What the database has already that messages are brought into. */
export interface Present {
  /** Whether a conversation lives there; null where it is not there. */
  isLive(conversation: string): boolean | null
  /** Whether it has a message: the `nth` of those with the same ends, text and time, counted from 1. */
  has(message: SourceMessage, nth: number): boolean
  /** The ids that unread messages of this print have there. */
  unread(print: string): readonly number[]
}

/** What becomes of a conversation. */
export interface ConversationPlan {
  readonly conversation: SourceConversation
  /** How it stands in the file, and in the database; null where it is not there. */
  readonly state: 'live' | 'ended'
  readonly here: 'live' | 'ended' | null
  /** `new`: it is opened again, with tokens and an end of its own. `kept`: as the file has it. `here`: as the database has it. */
  readonly tokens: 'kept' | 'new' | 'here'
  /** What is brought over, by its row in the file. */
  readonly messages: readonly PlannedMessage[]
  readonly unread: Readonly<Record<Side, number>>
  readonly openTasks: readonly string[]
  /** Messages, by their ids in the database, that are unread there and were read in the file. */
  readonly acks: readonly number[]
  /** Messages that stay where they are: read and about nothing open, or here already. */
  readonly settled: number
  readonly present: number
}

export interface PlannedMessage {
  readonly row: number
  readonly nth: number
}

/** What is kept of a message while a conversation is looked through. */
interface Seen extends PlannedMessage {
  readonly to: Side
  readonly isUnread: boolean
  readonly isHere: boolean
  readonly task: TaskHistory | null
}

/** Messages of one print. */
interface SamePrint {
  count: number
  areRead: boolean
}

/** What messages say of a task, from its assignment on. */
interface TaskHistory {
  readonly id: string
  isOpen: boolean
  hasUnread: boolean
}

/**
 * Decides what of a conversation is brought over. Of another bridge's file: unread mail, and all that was said about tasks that
 * are open, or about which something is unread. Of a file of S2, which was this database once: every message, and what was read.
 */
export function planConversation(
  conversation: SourceConversation,
  messages: Iterable<SourceMessage>,
  kind: SourceKind,
  present: Present,
  now: number,
): ConversationPlan {
  const prints = new Map<string, SamePrint>()
  const seen = lookThrough(messages, prints, present)
  const isWanted = ({ isUnread, task }: Seen): boolean =>
    kind === 's2' || isUnread || (task !== null && (task.isOpen || task.hasUnread))
  const wanted = seen.filter(isWanted)
  const missing = wanted.filter(({ isHere }) => !isHere)
  const unreadOf = (side: Side): number => missing.filter(({ isUnread, to }) => isUnread && to === side).length
  const unread = { a: unreadOf('a'), b: unreadOf('b') }
  const open = new Set(missing.flatMap(({ task }) => (task?.isOpen === true ? [task.id] : [])))
  const state = (conversation.expiresAt ?? 0) > now ? 'live' : 'ended'
  const isOpenedAgain = state === 'ended' && kind !== 's2' && unread.a + unread.b + open.size > 0
  const isLiveHere = present.isLive(conversation.id)
  const isNewlyGiven = isOpenedAgain || conversation.tokens === null
  return {
    conversation,
    state,
    here: isLiveHere === null ? null : isLiveHere ? 'live' : 'ended',
    tokens: isLiveHere !== null ? 'here' : isNewlyGiven ? 'new' : 'kept',
    messages: missing.map(({ row, nth }) => ({ row, nth })),
    unread,
    openTasks: [...open],
    acks: kind === 's2' ? [...prints].flatMap(([print, { areRead }]) => (areRead ? present.unread(print) : [])) : [],
    settled: seen.length - wanted.length,
    present: wanted.length - missing.length,
  }
}

/** Whether anything of it is brought over: it lives and is not here yet, or it has messages that are not. */
export function isTaken({ here, state, messages, acks }: ConversationPlan): boolean {
  return messages.length > 0 || acks.length > 0 || (here === null && state === 'live')
}

function lookThrough(messages: Iterable<SourceMessage>, prints: Map<string, SamePrint>, present: Present): Seen[] {
  const tasks = new Map<string, TaskHistory>()
  return Array.from(messages, (message) => {
    const same = prints.get(message.print) ?? { count: 0, areRead: true }
    prints.set(message.print, same)
    same.count += 1
    same.areRead &&= message.isRead
    const nth = same.count
    const task = taskOf(message, tasks)
    if (task !== null && !message.isRead) task.hasUnread = true
    return {
      row: message.row,
      nth,
      to: message.from === 'a' ? 'b' : 'a',
      isUnread: !message.isRead,
      isHere: present.has(message, nth),
      task,
    }
  })
}

/** The task that a message is about; null where it is about none that was assigned in this conversation. */
function taskOf({ from, text }: SourceMessage, tasks: Map<string, TaskHistory>): TaskHistory | null {
  const taskMessage = text.includes('"task_id"') ? readTaskMessage(text) : null
  if (taskMessage === null) return null
  const known = tasks.get(taskMessage.task)
  if (taskMessage.type === 'task_assignment' && from === 'a' && known?.isOpen !== true) {
    const task = { id: taskMessage.task, isOpen: true, hasUnread: false }
    tasks.set(task.id, task)
    return task
  }
  if (known !== undefined && isEnd(taskMessage, from)) known.isOpen = false
  return known ?? null
}

/** Words that end a task when its worker says them; only the last one when its giver does. */
const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'declined', 'cancelled'])

function isEnd(taskMessage: TaskMessage, from: Side): boolean {
  if (taskMessage.type === 'task_revoked') return from === 'a'
  if (taskMessage.type !== 'status_update') return false
  return from === 'b' ? ENDED.has(taskMessage.status) : taskMessage.status === 'cancelled'
}
