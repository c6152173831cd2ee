import { type ConditionState, isUnable } from './agent-condition.ts'
import type { Roster } from './failure-detector.ts'
import { type EndReason, isLeased, type OnStall, type Task } from './task.ts'
import { countedAttempts, presentAttempt } from './task-attempts.ts'
import type { Failed, Need } from './task-reassignment.ts'
import type { WorkReader } from './work-observer.ts'

/** How long each state of a task may last, milliseconds, and what follows. */
export interface TaskLimits {
  /** A task that its idle holder has not taken by then goes to another. */
  readonly takeWithinMs: number
  /** A task without a sign of work for so long is told of; after twice that, `onStall`. */
  readonly stallAfterMs: number
  readonly onStall: StallActions
  /** After so many attempts a task has failed. */
  readonly attemptsMax: number
}

/** What is done about a stalled task of an agent: by the name of the agent, by its role, or otherwise. */
export interface StallActions {
  readonly otherwise: OnStall
  readonly byName: ReadonlyMap<string, OnStall>
}

export interface ClockView extends TaskLimits {
  readonly roster: Pick<Roster, 'agentOf' | 'standing'>
  readonly work: WorkReader
  /** Of agents that are not well. */
  readonly conditions: ReadonlyMap<string, { readonly state: ConditionState }>
  /** By the observer's clock, and its wall clock. */
  readonly at: number
  readonly wall: number
}

/** A task that has to end. */
export interface DueEnd {
  readonly task: Task
  readonly reason: EndReason
  /** The agent that holds it; null where none does. */
  readonly agent: string | null
}

/** A task whose holder shows no work. */
export interface Stall {
  readonly task: Task
  readonly agent: string
  readonly since: number
  /** What happens after twice the time that is told. */
  readonly action: OnStall
}

/** What the clocks of the tasks demand now. */
export interface ClockFindings {
  readonly needs: readonly Need[]
  readonly ends: readonly DueEnd[]
  readonly reminders: readonly Task[]
  readonly stalls: readonly Stall[]
  /** So many stall together that the cause is probably something they share. */
  readonly stallsTogether: boolean
  /** Tasks that lie at agents which beat and take nothing, by agent. */
  readonly untaken: ReadonlyMap<string, readonly Task[]>
}

/** How long a task waits behind another before an agent that is free gets it: its own holder may be about to end. */
const HANDOVER_AFTER_MS = 5_000
/** Its holder is woken again after this part of the time that it has to take a task. */
const REMIND_AFTER_PART = 0.25
/** So many agents whose tasks stall together, and this part of all that work, have a cause that is not theirs. */
const MANY_LEAST = 3
const MANY_PART = 0.55
/** Together stall those that have shown no work for this part of the time that is told. */
const TOGETHER_PART = 0.8

/** Reads the clock of each open task. A task that a lost agent holds has none: it is the loss that counts. */
export function readTaskClocks(tasks: readonly Task[], view: ClockView): ClockFindings {
  const needs: Need[] = []
  const ends: DueEnd[] = []
  const reminders: Task[] = []
  const untaken = new Map<string, Task[]>()
  const stalls = findStalls(tasks, view, view.stallAfterMs)
  const stallsTogether = stalls.length > 0 && areMany(tasks, view)
  for (const task of tasks) {
    const holder = holderOf(task, view)
    const end = dueEnd(task, holder, view)
    if (end !== null) ends.push(end)
    else if (holder !== null) {
      const stall = stallsTogether ? undefined : stalls.find((each) => each.task === task)
      const need = clockNeed(task, holder, stall, view)
      if (need !== null) needs.push({ ...need, lostBefore: losersOf(task, view) })
      if (stall?.action === 'end' && isOverdue(stall, view)) ends.push({ task, reason: 'stalled', agent: holder.agent })
      if (isReminderDue(task, holder, view)) reminders.push(task)
      if (isUntaken(task, holder, view)) untaken.set(holder.agent, [...(untaken.get(holder.agent) ?? []), task])
    }
  }
  return { needs, ends, reminders, stalls, stallsTogether, untaken }
}

/** Whether so many stall together that the cause is probably something they share: then none is moved or ended for it. */
function areMany(tasks: readonly Task[], view: ClockView): boolean {
  const stalling = new Set(findStalls(tasks, view, TOGETHER_PART * view.stallAfterMs).map(({ agent }) => agent))
  const working = new Set(tasks.flatMap((task) => (isLeased(task.state) ? (holderOf(task, view)?.agent ?? []) : [])))
  return isMany(stalling, working)
}

/** Whether so many of those that work have shown none since then. */
export function areManyWithoutWork(
  tasks: readonly Task[],
  roster: Pick<Roster, 'agentOf'>,
  work: WorkReader,
  moment: number,
): boolean {
  const leased = tasks.filter(({ state }) => isLeased(state))
  const holders = (some: readonly Task[]): ReadonlySet<string> =>
    new Set(some.flatMap(({ holder }) => (holder === null ? [] : (roster.agentOf(holder) ?? []))))
  return isMany(holders(leased.filter((task) => !work.hasShownSince(task, moment))), holders(leased))
}

function isMany(stalling: ReadonlySet<string>, working: ReadonlySet<string>): boolean {
  return stalling.size >= MANY_LEAST && stalling.size >= MANY_PART * working.size
}

/** The agent that holds a task and lives; null where nobody does. */
function holderOf({ holder }: Task, { roster }: ClockView): Failed | null {
  const standing = holder === null ? undefined : roster.standing(roster.agentOf(holder) ?? '')
  return standing === undefined || standing.verdict === 'silent' || standing.verdict === 'gone' ? null : standing
}

/** Why a task has to end now; null where it need not. The attempt in hand may go on, also when it is the last that is allowed. */
function dueEnd(task: Task, holder: Failed | null, { at, wall, work, attemptsMax }: ClockView): DueEnd | null {
  const agent = holder?.agent ?? null
  if (presentAttempt(task) === null && countedAttempts(task) >= attemptsMax) return { task, reason: 'attempts', agent }
  if (!work.isDeadlinePassed(task, at, wall)) return null
  return task.onDeadline === 'move' && holder !== null ? null : { task, reason: 'deadline', agent }
}

/** Agents that had a task and showed no work at it, did not end it in time, or let it lie. */
function losersOf(task: Task, { roster, work }: ClockView): ReadonlySet<string> {
  const lost = task.attempts.filter(({ end }) => end === 'stalled' || end === 'deadline')
  return new Set([...work.letLieBy(task), ...lost.flatMap(({ holder }) => roster.agentOf(holder) ?? [])])
}

function clockNeed(task: Task, failed: Failed, stall: Stall | undefined, view: ClockView): Need | null {
  const { at, wall, work, takeWithinMs } = view
  if (work.isDeadlinePassed(task, at, wall)) return { task, reason: 'deadline', failed, since: at }
  if (stall?.action === 'move' && isOverdue(stall, view)) return { task, reason: 'stalled', failed, since: stall.since }
  const since = work.takeableSince(task, at)
  if (since === null) return null
  if (cannotWork(failed.agent, view)) return { task, reason: 'holder_sick', failed, since }
  if (work.isBusy(failed.agent))
    return since + HANDOVER_AFTER_MS <= at ? { task, reason: 'holder_busy', failed, since } : null
  const untakenSince = work.untakenSince(task, failed.agent, at) ?? at
  return untakenSince + takeWithinMs <= at ? { task, reason: 'not_taken', failed, since: untakenSince } : null
}

function isReminderDue(task: Task, { agent }: Failed, view: ClockView): boolean {
  const { at, work, takeWithinMs } = view
  const since = work.untakenSince(task, agent, at)
  if (since === null || task.reminded === task.epoch || work.isBusy(agent) || cannotWork(agent, view)) return false
  return since + REMIND_AFTER_PART * takeWithinMs <= at
}

function isUntaken(task: Task, { agent }: Failed, view: ClockView): boolean {
  const since = view.work.takeableSince(task, view.at)
  return since !== null && view.work.isIdle(agent) && !cannotWork(agent, view)
}

function cannotWork(agent: string, { conditions }: ClockView): boolean {
  return isUnable(conditions.get(agent)?.state)
}

function findStalls(tasks: readonly Task[], view: ClockView, afterMs: number): Stall[] {
  const { at, work, onStall } = view
  return tasks.flatMap((task) => {
    const [since, holder] = [work.workedAt(task), holderOf(task, view)]
    if (since === null || holder === null || since + afterMs > at) return []
    return [{ task, agent: holder.agent, since, action: actionOf(task, holder, onStall) }]
  })
}

function actionOf({ onStall }: Task, { agent, role }: Failed, { byName, otherwise }: StallActions): OnStall {
  return onStall ?? byName.get(agent) ?? byName.get(role) ?? otherwise
}

function isOverdue({ since }: Stall, { at, stallAfterMs }: ClockView): boolean {
  return since + 2 * stallAfterMs <= at
}
