import { type OwnershipDecision, type Step, silently } from './ownership-decision.ts'
import { redactedHead } from './redact.ts'
import { conversationOf, partnerOf, type SessionId, sessionId } from './session-id.ts'
import { DESCRIPTION_MAX, isOpen, type NewTask, PRIORITIES, type Priority, type Task } from './task.ts'
import type { Assignment } from './task-messages.ts'
import { freeId, isReassignedName, withoutReassigned } from './task-names.ts'
import { applyCancel, applyMove, beginTask } from './task-ownership.ts'

/** What a store knows of the tasks that messages of foreign agents name. */
export interface ForeignTaskView {
  /** The tasks that a conversation calls so, the oldest first. */
  named(conversation: string, name: string): readonly Task[]
  /** The task of this id, if the conversation has to do with it, whatever it calls it there. */
  withId(conversation: string, id: string): Task | null
  /** The tasks that other conversations call so, the oldest first, with who calls them so. */
  namedElsewhere(conversation: string, name: string): readonly NamedTask[]
  /** In which epoch a session held a task last; null where it never did. */
  heldEpoch(task: string, session: SessionId): number | null
  isTaken(id: string): boolean
  /** The agent and the role of a session; where the Python bridge made its conversation, the agent is the session itself. */
  endOf(session: SessionId): { readonly agent: string; readonly role: string } | null
  /** Whether a live conversation besides this one has a worker of the role. */
  hasOtherOfRole(role: string, conversation: string): boolean
}

/** A task, and a conversation that has a name for it. */
export interface NamedTask {
  readonly task: Task
  readonly conversation: string
}

/** What is to be done about one task. */
export interface ForeignAct {
  /** The task as it was; null for a new one. */
  readonly before: Task | null
  readonly decision: OwnershipDecision
  /** What the conversation of the message calls the task from now on, besides its id; null where nothing new. */
  readonly name: string | null
}

/**
 * An orchestrator gives its partner work, which reads the message itself: no other is sent there. The same work given again is
 * the same task, as long as it is open; where it has moved, it comes back. Work of the same name and another text is another
 * task: it takes the place of one that nobody has begun. Work that another worker had is the same task, given to this one.
 */
export function takeAssignment(
  view: ForeignTaskView,
  from: SessionId,
  assignment: Assignment,
  now: number,
): readonly ForeignAct[] {
  const [conversation, holder] = [conversationOf(from), partnerOf(from)]
  const { task: name, description } = assignment
  const isReassignment = isReassignedName(name) || assignment.originalAssignee !== null
  const open = view.named(conversation, name).filter(({ state }) => isOpen(state))
  const text = redactedHead(description, DESCRIPTION_MAX)
  const same = open.filter((task) => task.description === text || isReassignedName(name))
  const meant = same.find((task) => task.holder === holder) ?? same[0]
  if (meant !== undefined) return giveAgain(meant, from, assignment, null, now)
  const former = isReassignment ? reassignedTask(view, conversation, assignment) : null
  if (former !== null) return giveAgain(former, from, assignment, name, now)
  return [...replaced(view, open, from, now), newTask(view, from, assignment, now)]
}

/** What waits under the same name here, and was not begun by anybody. */
function replaced(view: ForeignTaskView, open: readonly Task[], from: SessionId, now: number): ForeignAct[] {
  return open
    .filter(({ id, attempts }) => attempts.length === 0 && view.heldEpoch(id, partnerOf(from)) !== null)
    .map((task) => ({ before: task, decision: silently(from, applyCancel(task, now, from)), name: null }))
}

function newTask(view: ForeignTaskView, from: SessionId, assignment: Assignment, now: number): ForeignAct {
  const { task: name, description, priority, timeoutMs } = assignment
  const holder = partnerOf(from)
  const wanted: NewTask = {
    id: freeId(name, (id) => view.isTaken(id)),
    description,
    priority,
    role: assignment.role ?? roleOf(view, holder),
    holder,
    deadline: timeoutMs === null ? null : now + timeoutMs,
    onDeadline: 'move',
    createdBy: from,
  }
  const step = { ...beginTask(wanted, now), messages: [] }
  return { before: null, decision: step, name: wanted.id === name ? null : name }
}

/**
 * A task that names no role gets that of the session it was given to, so that it moves to agents of that role only. In the Python
 * protocol each worker has a role of its own: one that no other has keeps a task from nobody.
 */
function roleOf(view: ForeignTaskView, holder: SessionId): string | null {
  const end = view.endOf(holder)
  if (end === null) return null
  const isOfItsOwn = end.agent === holder && !view.hasOtherOfRole(end.role, conversationOf(holder))
  return isOfItsOwn ? null : end.role
}

/** Nothing but its name and its urgency changes where the worker has it already; else it comes to this worker from whoever has it. */
function giveAgain(
  task: Task,
  from: SessionId,
  assignment: Assignment,
  name: string | null,
  now: number,
): ForeignAct[] {
  const holder = partnerOf(from)
  const priority = moreUrgent(task.priority, assignment.priority)
  if (task.holder === holder) {
    const isMore = priority !== task.priority && (name !== null || isReassignedName(assignment.task))
    const act = isMore ? { actor: from, action: 'task_raised', details: { task: task.id, priority } } : null
    const next = isMore ? { ...task, priority, updatedAt: now } : task
    return [{ before: task, decision: { refusal: null, task: next, messages: [], act }, name }]
  }
  const moved = applyMove(task, { task: task.id, epoch: task.epoch, to: holder, reason: 'by_hand' }, now)
  if (moved === null) return []
  const { timeoutMs } = assignment
  const timed = timeoutMs === null ? {} : ({ deadline: now + timeoutMs, onDeadline: 'move' } as const)
  const step: Step = {
    ...moved,
    task: { ...moved.task, priority: moreUrgent(moved.task.priority, priority), ...timed },
    messages: moved.messages.filter(({ taskMessage }) => taskMessage.type === 'task_revoked'),
    act: moved.act === null ? null : { ...moved.act, actor: from },
  }
  return [{ before: task, decision: silently(from, step), name }]
}

function moreUrgent(one: Priority, other: Priority): Priority {
  return PRIORITIES.indexOf(one) < PRIORITIES.indexOf(other) ? one : other
}

/**
 * The open task that an orchestrator gives to another of its workers: whoever had it first is named, else no other worker of
 * this orchestrator has one of that name. Null where it cannot be told which is meant.
 */
function reassignedTask(view: ForeignTaskView, conversation: string, assignment: Assignment): Task | null {
  const name = withoutReassigned(assignment.task)
  const here = view.named(conversation, name).map((task) => ({ task, conversation }))
  const elsewhere = view
    .namedElsewhere(conversation, name)
    .filter((each) => haveSameLeader(view, conversation, each.conversation))
  const open = [...here, ...elsewhere].filter(({ task }) => isOpen(task.state))
  const { originalAssignee: who } = assignment
  const named = who === null ? [] : open.filter((each) => isFormerWorker(view, each, who))
  const others = open.filter((each) => each.conversation !== conversation)
  const meant = named.length > 0 ? named : others.length > 0 ? others : who === null ? open : []
  const isClear =
    new Set(meant.map((each) => each.conversation)).size === 1 || new Set(meant.map(({ task }) => task.id)).size === 1
  return isClear ? (meant.at(-1)?.task ?? null) : null
}

/** Whether two conversations have one orchestrator. The Python bridge knows it by its role alone. */
function haveSameLeader(view: ForeignTaskView, one: string, other: string): boolean {
  const [first, second] = [sessionId(one, 'a'), sessionId(other, 'a')]
  const [end, otherEnd] = [view.endOf(first), view.endOf(second)]
  if (end === null || otherEnd === null) return false
  if (end.agent === otherEnd.agent) return true
  const isForeign = end.agent === first || otherEnd.agent === second
  return isForeign && end.role === otherEnd.role
}

/** Whether people would call the worker of that conversation, or the one who had the task first, so: `Worker-3` is `worker-3-tests`. */
function isFormerWorker(view: ForeignTaskView, { task, conversation }: NamedTask, who: string): boolean {
  const workers = [sessionId(conversation, 'b'), task.originalAssignee].flatMap((each) =>
    each === null ? [] : [view.endOf(each)],
  )
  return workers.some((end) => end !== null && (isSameName(end.role, who) || isSameName(end.agent, who)))
}

function isSameName(one: string, other: string): boolean {
  const [x, y] = [one, other].map(
    (each) =>
      `-${each
        .trim()
        .toLowerCase()
        .replace(/[\s_]+/g, '-')}-`,
  ) as [string, string]
  return x.includes(y) || y.includes(x)
}
