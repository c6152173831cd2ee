import type { AuditedAct } from '#fleet/audit.ts'
import { takeTaskMessage } from '#fleet/foreign-messages.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { Message } from '#fleet/message.ts'
import { failureIncident, type Refusal, type Step } from '#fleet/ownership-decision.ts'
import { conversationOf, parseSession, type SessionId } from '#fleet/session-id.ts'
import {
  checkSameTask,
  checkTask,
  isOpen,
  type Move,
  type NewTask,
  type Report,
  type Task,
  type TaskEnding,
} from '#fleet/task.ts'
import { type AddressedTaskMessage, readTaskMessage } from '#fleet/task-messages.ts'
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
import type { Clock } from '#runtime/clock.ts'
import { ForeignTasks } from '../foreign-task-view.ts'
import type { LateReport, TaskFilter } from '../store.ts'
import type { MemoryConversations } from './conversations.ts'
import { MemoryTaskNames } from './task-names.ts'

/** What else happens together with a change of a task. */
export interface Effects {
  send(message: AddressedTaskMessage): void
  audit(act: AuditedAct): void
  /** Opens an incident of which every channel tells. */
  tell(incident: NewIncident): void
}

/** The tasks, in memory. */
export class MemoryTasks {
  readonly #conversations: MemoryConversations
  readonly #clock: Clock
  readonly #effects: Effects
  readonly #all = new Map<string, Task>()
  readonly #open = new Map<string, Task>()
  readonly #evidence = new Map<string, LateReport[]>()
  /** All who hold or held each task, with the epoch in which they did last. */
  readonly #holders = new Map<string, Map<SessionId, number>>()
  readonly #names = new MemoryTaskNames()
  readonly #foreign: ForeignTasks

  constructor(conversations: MemoryConversations, clock: Clock, effects: Effects) {
    this.#conversations = conversations
    this.#clock = clock
    this.#effects = effects
    this.#foreign = new ForeignTasks({
      find: (id) => this.#all.get(id),
      withName: (name, conversation) => this.#names.withName(name, conversation),
      namesOf: (conversation, task) => this.#names.namesOf(conversation, task),
      holdersOf: (task) => [...(this.#holders.get(task)?.keys() ?? [])],
      heldEpoch: (task, session) => this.#holders.get(task)?.get(session) ?? null,
      endOf: (session) => conversations.endOf(session),
      hasOtherOfRole: (role, conversation) =>
        conversations.live().some(({ id, roles }) => id !== conversation && roles.b === role),
    })
  }

  /** Throws `not_found`. */
  task(id: string): Task {
    const task = this.#all.get(id)
    if (task === undefined) throw unknownTask(id)
    return task
  }

  tasks({ open, holder, state, limit = Number.POSITIVE_INFINITY, newest = false }: TaskFilter): Task[] {
    const found: Task[] = []
    for (const task of (open === true ? this.#open : this.#all).values()) {
      if (found.length >= limit && !newest) break
      if (open === false && isOpen(task.state)) continue
      if (holder !== undefined && task.holder !== holder) continue
      if (state === undefined || task.state === state) found.push(task)
    }
    return found.slice(Math.max(0, found.length - limit))
  }

  addTask(wanted: NewTask): Task {
    checkTask(wanted)
    if (wanted.createdBy !== null) parseSession(wanted.createdBy)
    const earlier = this.#all.get(wanted.id)
    if (earlier !== undefined) {
      checkSameTask(earlier, wanted)
      return earlier
    }
    if (wanted.holder !== null) this.#demandHolder(wanted.holder)
    return this.#write(beginTask(wanted, this.#clock.wall()))
  }

  leaseTask(holder: SessionId, incarnation: string, passing: readonly string[] = []): Task | null {
    parseSession(holder)
    const { steps, task } = decideLease(this.#open.values(), holder, incarnation, this.#clock.wall(), passing)
    for (const step of steps) this.#write(step)
    return task === null ? null : this.task(task.id)
  }

  report(holder: SessionId, report: Report): Task {
    const task = this.task(report.task)
    if (!this.#hasHeld(task.id, holder)) throw unknownTask(report.task)
    return this.#settle(applyReport(task, holder, report, this.#clock.wall()))
  }

  cancelTask(id: string): Task {
    return this.#settle(applyCancel(this.task(id), this.#clock.wall()))
  }

  move(move: Move): boolean {
    const step = applyMove(this.task(move.task), move, this.#clock.wall())
    if (step === null) return false
    if (move.to !== null) this.#demandHolder(move.to)
    this.#write(step)
    return true
  }

  endTask(ending: TaskEnding): boolean {
    return this.#writeIfAny(applyEnding(this.task(ending.task), ending, this.#clock.wall()))
  }

  remindTask(id: string, epoch: number): boolean {
    return this.#writeIfAny(applyReminder(this.task(id), epoch, this.#clock.wall()))
  }

  #writeIfAny(step: Step | null): boolean {
    if (step !== null) this.#write(step)
    return step !== null
  }

  /** Applies what a message says of a task, if anything. */
  absorb({ from, sender, text }: Message): void {
    const taskMessage = sender === undefined ? readTaskMessage(text) : null
    if (taskMessage === null) return
    for (const { decision, name } of takeTaskMessage(this.#foreign, from, taskMessage, this.#clock.wall())) {
      if (decision.refusal !== null) this.#keepLateReport(decision)
      else {
        this.#write(decision)
        if (name !== null) this.#names.note({ conversation: conversationOf(from), name, task: decision.task.id })
      }
    }
  }

  evidence(task: string): LateReport[] {
    return [...(this.#evidence.get(task) ?? [])]
  }

  /** Forgets tasks that ended before `time`; answers how many. */
  prune(time: number): number {
    const old = [...this.#all.values()].filter(({ state, updatedAt }) => !isOpen(state) && updatedAt < time)
    for (const { id } of old) {
      this.#all.delete(id)
      this.#evidence.delete(id)
      this.#holders.delete(id)
      this.#names.forget(id)
    }
    return old.length
  }

  #hasHeld(task: string, session: SessionId): boolean {
    return this.#holders.get(task)?.has(session) === true
  }

  #demandHolder(holder: SessionId): void {
    this.#conversations.demandLive(parseSession(holder).conversation)
    checkHolder(holder)
  }

  #settle(outcome: Step | Refusal): Task {
    if (outcome.refusal === null) return this.#write(outcome)
    this.#keepLateReport(outcome)
    throw outcome.refusal
  }

  #write({ task, messages, act, failure }: Step): Task {
    const kept = freeze(task)
    this.#all.set(kept.id, kept)
    if (kept.holder !== null) this.#noteHolder(kept, kept.holder)
    if (isOpen(kept.state)) this.#open.set(kept.id, kept)
    else this.#open.delete(kept.id)
    for (const message of messages) this.#effects.send(this.#inWords(message))
    if (act !== null) this.#effects.audit(act)
    if (failure !== undefined) this.#effects.tell(failureIncident(failure, this.#nameOf(failure.holder)))
    return kept
  }

  /** With the name of whoever had the task first, where a message tells of that. */
  #inWords({ to, taskMessage }: AddressedTaskMessage): AddressedTaskMessage {
    if (taskMessage.type !== 'task_assignment') return { to, taskMessage }
    const { originalAssignee } = this.task(taskMessage.task)
    return { to, taskMessage: { ...taskMessage, originalAssignee: this.#foreign.nameOf(originalAssignee) } }
  }

  #nameOf(session: SessionId | null): string | null {
    return session === null ? null : (this.#conversations.endOf(session)?.agent ?? session)
  }

  #noteHolder({ id, epoch }: Task, holder: SessionId): void {
    const holders = this.#holders.get(id) ?? new Map<SessionId, number>()
    this.#holders.set(id, holders.set(holder, epoch))
  }

  #keepLateReport({ evidence, act }: Refusal): void {
    if (evidence === null) return
    const { task, holder, report } = evidence
    const kept = this.#evidence.get(task) ?? []
    const own = kept.filter((one) => one.holder === holder)
    if (own.length >= EVIDENCE_MAX || own.some((one) => isSameReport(one.report, report))) return
    const result = report.result === null ? null : Object.freeze({ ...report.result })
    kept.push(Object.freeze({ holder, report: Object.freeze({ ...report, result }), at: this.#clock.wall() }))
    this.#evidence.set(task, kept)
    if (act !== null) this.#effects.audit(act)
  }
}

function freeze(task: Task): Task {
  if (Object.isFrozen(task)) return task
  return Object.freeze({ ...task, result: task.result === null ? null : Object.freeze({ ...task.result }) })
}
