import type { S2Error } from '#fleet/errors.ts'
import { takeTaskMessage } from '#fleet/foreign-messages.ts'
import { applyShownStatus } from '#fleet/foreign-tasks.ts'
import { EVERY_CHANNEL } from '#fleet/incident.ts'
import type { Message } from '#fleet/message.ts'
import { failureIncident, type Refusal, type Step } from '#fleet/ownership-decision.ts'
import { conversationOf, parseSession, partnerOf, type SessionId } from '#fleet/session-id.ts'
import {
  type Attempt,
  checkSameTask,
  checkTask,
  type Move,
  type NewTask,
  type Pause,
  type Report,
  type Task,
  type TaskEnding,
  type TaskResult,
} from '#fleet/task.ts'
import { type AddressedTaskMessage, readTaskMessage, type TaskMessage, writeTaskMessage } from '#fleet/task-messages.ts'
import { isReassignedName, reassignedName, withoutReassigned } from '#fleet/task-names.ts'
import {
  applyCancel,
  applyEnding,
  applyMove,
  applyReminder,
  beginTask,
  checkHolder,
  decideLease,
  EVIDENCE_MAX,
  unknownTask,
} from '#fleet/task-ownership.ts'
import { applyReport, isSameReport } from '#fleet/task-reports.ts'
import type { Usage } from '#fleet/usage.ts'
import type { Clock } from '#runtime/clock.ts'
import { ForeignTasks } from '../../foreign-task-view.ts'
import type { LateReport, TaskFilter } from '../../store.ts'
import type { SqliteConnection, Value } from '../file/connection.ts'
import type { PythonReaders } from '../python/python-readers.ts'
import type { AuditChainTable } from './audit-chain.ts'
import type { ConversationTable } from './conversations.ts'
import type { IncidentTable } from './incidents.ts'
import type { MessageTable } from './messages.ts'
import { TaskNameTable } from './task-names.ts'

/** A task as its row has it: lists and objects are JSON. */
type TaskRow = {
  readonly [K in keyof Required<Task>]: K extends ListColumn
    ? string
    : K extends ObjectColumn
      ? string | null
      : Required<Task>[K]
}
type ListColumn = 'otherRoles' | 'attempts'
type ObjectColumn = 'result' | 'pause' | 'usage' | 'checkpoint'

const SELECT = `
  SELECT id, description, priority, role, other_roles AS otherRoles, state, epoch, holder,
    original_assignee AS originalAssignee, incarnation, lease_seq AS leaseSeq, work, moves, attempts, pause, reminded,
    progress, result, usage, checkpoint, deadline, on_deadline AS onDeadline, on_stall AS onStall, created_by AS createdBy,
    created_at AS createdAt, updated_at AS updatedAt
  FROM s2_tasks`

/** Written as in the partial index, so that SQLite uses it. */
const IS_OPEN = "state IN ('pending', 'assigned', 'accepted', 'in_progress')"

/** Tasks by the rules of `fleet/task-ownership.ts`. Reading, deciding, writing, notifying and auditing are one transaction: the caller's. */
export class TaskTable {
  readonly #connection: SqliteConnection
  readonly #conversations: ConversationTable
  readonly #messages: MessageTable
  readonly #chain: AuditChainTable
  readonly #incidents: Pick<IncidentTable, 'openIncident'>
  readonly #clock: Clock
  readonly #pythonReaders: PythonReaders
  readonly #names: TaskNameTable
  readonly #foreign: ForeignTasks

  constructor(
    connection: SqliteConnection,
    conversations: ConversationTable,
    messages: MessageTable,
    chain: AuditChainTable,
    incidents: Pick<IncidentTable, 'openIncident'>,
    clock: Clock,
    pythonReaders: PythonReaders,
  ) {
    this.#connection = connection
    this.#conversations = conversations
    this.#messages = messages
    this.#chain = chain
    this.#incidents = incidents
    this.#clock = clock
    this.#pythonReaders = pythonReaders
    const names = new TaskNameTable(connection)
    this.#names = names
    this.#foreign = new ForeignTasks({
      find: (id) => this.#find(id),
      withName: (name, conversation) => names.withName(name, conversation),
      namesOf: (conversation, task) => names.namesOf(conversation, task),
      holdersOf: (task) => this.#holdersOf(task),
      heldEpoch: (task, session) => this.#heldEpoch(task, session),
      endOf: (session) => conversations.endOf(session),
      hasOtherOfRole: (role, conversation) =>
        conversations.live().some(({ id, roles }) => id !== conversation && roles.b === role),
    })
  }

  addTask(wanted: NewTask): Task {
    checkTask(wanted)
    if (wanted.createdBy !== null) parseSession(wanted.createdBy)
    const earlier = this.#find(wanted.id)
    if (earlier !== undefined) {
      checkSameTask(earlier, wanted)
      return earlier
    }
    if (wanted.holder !== null) this.#demandHolder(wanted.holder)
    return this.#write(beginTask(wanted, this.#clock.wall()), null)
  }

  #find(id: string): Task | undefined {
    const row = this.#connection.get<TaskRow>(`${SELECT} WHERE id = ?`, id)
    return row === undefined ? undefined : taskOf(row)
  }

  task(id: string): Task {
    const task = this.#find(id)
    if (task !== undefined) return task
    throw unknownTask(id)
  }

  tasks({ open, holder, state, limit, newest = false }: TaskFilter): Task[] {
    const terms: string[] = []
    const values: Value[] = []
    if (open !== undefined) terms.push(open ? IS_OPEN : `NOT (${IS_OPEN})`)
    if (holder !== undefined) {
      terms.push('holder = ?')
      values.push(holder)
    }
    if (state !== undefined) {
      terms.push('state = ?')
      values.push(state)
    }
    const where = terms.length === 0 ? '' : `WHERE ${terms.join(' AND ')}`
    const order = newest ? 'rowid DESC' : 'rowid'
    const rows = this.#connection.all<TaskRow>(`${SELECT} ${where} ORDER BY ${order} LIMIT +?`, ...values, limit ?? -1)
    return (newest ? rows.toReversed() : rows).map(taskOf)
  }

  leaseTask(holder: SessionId, incarnation: string, passing: readonly string[] = []): Task | null {
    parseSession(holder)
    const held = this.tasks({ open: true, holder })
    const { steps, task } = decideLease(held, holder, incarnation, this.#clock.wall(), passing)
    for (const step of steps) this.#write(step, held.find(({ id }) => id === step.task.id) ?? null)
    return task
  }

  /** Answers an error to throw after the commit, where a late report was refused and kept. */
  report(holder: SessionId, report: Report): Task | S2Error {
    const task = this.task(report.task)
    if (!this.#hasHeld(task, holder)) throw unknownTask(report.task)
    const outcome = applyReport(task, holder, report, this.#clock.wall())
    if (outcome.refusal === null) return this.#write(outcome, task)
    this.#keepLateReport(outcome)
    return outcome.refusal
  }

  /** What a report would make of its task, without writing it. Throws what it would be refused with. */
  foresee(holder: SessionId, report: Report): Task {
    const task = this.task(report.task)
    if (!this.#hasHeld(task, holder)) throw unknownTask(report.task)
    const outcome = applyReport(task, holder, report, this.#clock.wall())
    if (outcome.refusal !== null) throw outcome.refusal
    return outcome.task
  }

  cancelTask(id: string): Task {
    const task = this.task(id)
    const outcome = applyCancel(task, this.#clock.wall())
    if (outcome.refusal !== null) throw outcome.refusal
    return this.#write(outcome, task)
  }

  move(move: Move): boolean {
    const task = this.task(move.task)
    const step = applyMove(task, move, this.#clock.wall())
    if (step === null) return false
    if (move.to !== null) this.#demandHolder(move.to)
    this.#write(step, task)
    return true
  }

  endTask(ending: TaskEnding): boolean {
    const task = this.task(ending.task)
    return this.#writeIfAny(applyEnding(task, ending, this.#clock.wall()), task)
  }

  remindTask(id: string, epoch: number): boolean {
    const task = this.task(id)
    return this.#writeIfAny(applyReminder(task, epoch, this.#clock.wall()), task)
  }

  #writeIfAny(step: Step | null, before: Task): boolean {
    if (step !== null) this.#write(step, before)
    return step !== null
  }

  evidence(task: string): LateReport[] {
    return this.#connection
      .all<{ holder: SessionId; report: string; at: number }>(
        'SELECT holder, report, at FROM s2_evidence WHERE task = ? ORDER BY id',
        task,
      )
      .map(({ holder, report, at }) => ({ holder, report: JSON.parse(report) as Report, at }))
  }

  /** Applies what a message says of a task, if anything, once. Reports count also once their conversation has ended; work is given in one that lives. */
  absorb({ id, from, sender, text }: Message): void {
    const taskMessage = sender === undefined ? readTaskMessage(text) : null
    if (taskMessage === null || this.#connection.run('INSERT OR IGNORE INTO s2_letters (message) VALUES (?)', id) === 0)
      return
    if (taskMessage.type === 'task_assignment' && !this.#conversations.isLiveNow(conversationOf(from))) return
    for (const { before, decision, name } of takeTaskMessage(this.#foreign, from, taskMessage, this.#clock.wall())) {
      if (decision.refusal !== null) this.#keepLateReport(decision)
      else {
        this.#write(decision, before)
        if (name !== null) this.#names.note({ conversation: conversationOf(from), name, task: decision.task.id })
      }
    }
  }

  /** Whether the conversation of a session calls any task so. */
  isKnown(session: SessionId, name: string): boolean {
    const conversation = conversationOf(session)
    return this.#foreign.named(conversation, name).length > 0 || this.#foreign.withId(conversation, name) !== null
  }

  /** Keeps what the status that a holder shows in the Python bridge's table makes of its tasks. */
  showStatus(holder: SessionId, word: string): void {
    for (const task of this.tasks({ open: true, holder })) {
      const step = applyShownStatus(task, word, this.#clock.wall())
      if (step !== null) this.#write(step, task)
    }
  }

  /** A message was absorbed, or says nothing of tasks. */
  noteAbsorbed(message: number): void {
    this.#connection.run('INSERT OR IGNORE INTO s2_letters (message) VALUES (?)', message)
  }

  /** Forgets tasks that ended before `time`, and the late reports on them; answers how many. */
  prune(time: number): number {
    this.#connection.run('DELETE FROM s2_letters WHERE message NOT IN (SELECT id FROM messages)')
    const old = `task IN (SELECT id FROM s2_tasks WHERE updated_at < ? AND NOT (${IS_OPEN}))`
    this.#connection.run(`DELETE FROM s2_evidence WHERE ${old}`, time)
    this.#connection.run(`DELETE FROM s2_task_holders WHERE ${old}`, time)
    this.#connection.run(`DELETE FROM s2_task_names WHERE ${old}`, time)
    return this.#connection.run(`DELETE FROM s2_tasks WHERE updated_at < ? AND NOT (${IS_OPEN})`, time)
  }

  /** Whether a session holds the task or held it once. */
  #hasHeld({ id, holder }: Task, session: SessionId): boolean {
    return holder === session || this.#heldEpoch(id, session) !== null
  }

  #heldEpoch(task: string, session: SessionId): number | null {
    const held = this.#connection.get<{ epoch: number }>(
      'SELECT epoch FROM s2_task_holders WHERE task = ? AND holder = ?',
      task,
      session,
    )
    return held?.epoch ?? null
  }

  #holdersOf(task: string): SessionId[] {
    return this.#connection
      .all<{ holder: SessionId }>('SELECT holder FROM s2_task_holders WHERE task = ?', task)
      .map(({ holder }) => holder)
  }

  #noteHolder({ id, epoch }: Task, holder: SessionId): void {
    this.#connection.run(
      `INSERT INTO s2_task_holders (task, holder, epoch) VALUES (?, ?, ?)
        ON CONFLICT (task, holder) DO UPDATE SET epoch = excluded.epoch`,
      id,
      holder,
      epoch,
    )
  }

  #demandHolder(holder: SessionId): void {
    parseSession(holder)
    checkHolder(holder)
    this.#conversations.demandLive(conversationOf(holder))
  }

  /** Writes the outcome of a rule: the task, its messages and its audit entry. */
  #write({ task, messages, act, failure }: Step, before: Task | null): Task {
    if (task !== before) this.#save(task)
    for (const message of messages) this.#send(message)
    const isNews = task.holder !== before?.holder || task.epoch !== before.epoch
    if (task.holder !== null && isNews) this.#noteHolder(task, task.holder)
    if (act !== null) this.#chain.append(act)
    if (failure !== undefined)
      this.#incidents.openIncident(failureIncident(failure, this.#nameOf(failure.holder)), [EVERY_CHANNEL])
    return task
  }

  #nameOf(session: SessionId | null): string | null {
    return session === null ? null : (this.#conversations.endOf(session)?.agent ?? session)
  }

  #keepLateReport({ evidence, act }: Refusal): void {
    if (evidence === null) return
    const { task, holder, report } = evidence
    const own = this.evidence(task).filter((each) => each.holder === holder)
    if (own.length >= EVIDENCE_MAX || own.some((each) => isSameReport(each.report, report))) return
    this.#connection.run(
      'INSERT INTO s2_evidence (task, holder, report, at) VALUES (?, ?, ?, ?)',
      task,
      holder,
      JSON.stringify(report),
      this.#clock.wall(),
    )
    if (act !== null) this.#chain.append(act)
  }

  /** Sends a message about a task, if its conversation lives: others have no readers any more. */
  #send({ to, taskMessage }: AddressedTaskMessage): void {
    if (!this.#conversations.isLiveNow(conversationOf(to))) return
    const task = this.task(taskMessage.task)
    const said =
      taskMessage.type === 'task_assignment'
        ? { ...taskMessage, originalAssignee: this.#foreign.nameOf(task.originalAssignee) }
        : taskMessage
    const isPython = this.#pythonReaders.has(to, this.#conversations.endOf(to)?.agent)
    const name = isPython ? this.#nameFor(to, task, taskMessage.type) : null
    const { id } = this.#messages.post(partnerOf(to), writeTaskMessage(said, name), { mark: 'task' })
    this.#connection.run('INSERT INTO s2_letters (message) VALUES (?)', id)
  }

  /**
   * What the conversation of an agent that knows the Python bridge alone calls a task. One that comes to it from another agent
   * gets the name that the protocol has for that, and goes on under its former name as well, where that is free.
   */
  #nameFor(to: SessionId, task: Task, type: TaskMessage['type']): string {
    const conversation = conversationOf(to)
    const names = this.#names.namesOf(conversation, task.id)
    const known = names.find(isReassignedName) ?? names[0]
    if (known !== undefined) return known
    const first = task.originalAssignee
    if (type !== 'task_assignment' || first === null || this.#foreign.isKnownIn(conversation, task)) return task.id
    const former = this.#names.namesOf(conversationOf(first), task.id)[0] ?? task.id
    const plain = withoutReassigned(former)
    const name = reassignedName(former, (each) => this.isKnown(to, each))
    if (!this.isKnown(to, plain)) this.#names.note({ conversation, name: plain, task: task.id })
    this.#names.note({ conversation, name, task: task.id })
    return name
  }

  #save(task: Task): void {
    this.#connection.run(
      SAVE,
      task.id,
      task.description,
      task.priority,
      task.role,
      JSON.stringify(task.otherRoles),
      task.state,
      task.epoch,
      task.holder,
      task.originalAssignee,
      task.incarnation,
      task.leaseSeq,
      task.work,
      task.moves,
      JSON.stringify(task.attempts),
      jsonOrNull(task.pause),
      task.reminded,
      task.progress,
      jsonOrNull(task.result),
      jsonOrNull(task.usage ?? null),
      task.checkpoint ?? null,
      task.deadline === null ? null : Math.round(task.deadline),
      task.onDeadline,
      task.onStall,
      task.createdBy,
      task.createdAt,
      task.updatedAt,
    )
  }
}

/** A known task keeps its row, and so its place in the order of tasks. */
const SAVE = `
  INSERT INTO s2_tasks
    (id, description, priority, role, other_roles, state, epoch, holder, original_assignee, incarnation, lease_seq, work, moves,
      attempts, pause, reminded, progress, result, usage, checkpoint, deadline, on_deadline, on_stall, created_by, created_at, updated_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET
    priority = excluded.priority, state = excluded.state, epoch = excluded.epoch, holder = excluded.holder,
    original_assignee = excluded.original_assignee, incarnation = excluded.incarnation,
    lease_seq = excluded.lease_seq, work = excluded.work, moves = excluded.moves, attempts = excluded.attempts,
    pause = excluded.pause, reminded = excluded.reminded, progress = excluded.progress, result = excluded.result, usage = excluded.usage, checkpoint = excluded.checkpoint,
    deadline = excluded.deadline, on_deadline = excluded.on_deadline, updated_at = excluded.updated_at`

function jsonOrNull(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value)
}

function taskOf({ result, otherRoles, attempts, pause, usage, checkpoint, ...task }: TaskRow): Task {
  return {
    ...task,
    ...(usage === null ? {} : { usage: JSON.parse(usage) as Usage }),
    ...(checkpoint === null ? {} : { checkpoint }),
    otherRoles: JSON.parse(otherRoles) as string[],
    attempts: JSON.parse(attempts) as Attempt[],
    pause: pause === null ? null : (JSON.parse(pause) as Pause),
    result: result === null ? null : (JSON.parse(result) as TaskResult),
  }
}
