import type { Roster } from './failure-detector.ts'
import type { SessionId } from './session-id.ts'
import { isLeased, type Task } from './task.ts'

/** What the decisions ask of the work. */
export type WorkReader = Pick<
  WorkObserver,
  'pendingSince' | 'takeableSince' | 'workedAt' | 'isDeadlinePassed' | 'isIdle' | 'isBusy'
>

type Fleet = Pick<Roster, 'agentOf' | 'standing'>

/**
 * The clocks of tasks, by the observer's own clock: since when nobody has one, since when its holder could have taken it, and
 * when it last showed work. Signs of work are what its holder reports (output, processor time, children of its command),
 * progress, and what the agent itself does; that a lease is renewed is none, unless its holder does not look for signs.
 *
 * An agent that lets a task lie though it does nothing else is idle: it beats, and nothing works beside it. It is so until it
 * takes a task or shows work.
 */
export class WorkObserver {
  readonly #takeWithinMs: number
  #seen = new Map<string, Seen>()
  #busy: ReadonlySet<string> = new Set()
  /** How much work the idle agents had shown when they were found idle. */
  readonly #idle = new Map<string, number>()

  constructor(takeWithinMs: number) {
    this.#takeWithinMs = takeWithinMs
  }

  /** Takes in all open tasks as they are at `at`, by the observer's clock; `wall` is its wall clock. */
  observe(tasks: readonly Task[], fleet: Fleet, at: number, wall: number): void {
    const before = this.#seen
    this.#seen = new Map(tasks.map((task) => [task.id, see(task, before.get(task.id), signsOf(task, fleet), at, wall)]))
    this.#busy = new Set(tasks.flatMap(({ state, holder }) => (isLeased(state) ? agentOf(holder, fleet) : [])))
    this.#markIdle(tasks, fleet, at)
  }

  /** Since when nobody has it. */
  pendingSince(task: Task): number | null {
    return task.holder === null ? (this.#seen.get(task.id)?.heldSince ?? null) : null
  }

  /** Since when its holder could have taken it; null where it has, or may not yet. */
  takeableSince(task: Task, at: number): number | null {
    const takeableAt = task.state === 'assigned' ? this.#seen.get(task.id)?.takeableAt : undefined
    return takeableAt === undefined || takeableAt > at ? null : takeableAt
  }

  /** When it last showed work; null where nobody works at it. */
  workedAt(task: Task): number | null {
    return isLeased(task.state) ? (this.#seen.get(task.id)?.workedAt ?? null) : null
  }

  /** A clock that is put back makes a deadline no later; one that is put forward makes it come. */
  isDeadlinePassed({ id, deadline }: Task, at: number, wall: number): boolean {
    if (deadline === null) return false
    return wall >= deadline || (this.#seen.get(id)?.dueAt ?? Number.POSITIVE_INFINITY) <= at
  }

  isIdle(agent: string): boolean {
    return this.#idle.has(agent)
  }

  /** It works at a task. */
  isBusy(agent: string): boolean {
    return this.#busy.has(agent)
  }

  /** The observer was paused or blind: whatever happened meanwhile counts as if it had happened now. Deadlines go on. */
  grace(now: number): void {
    for (const seen of this.#seen.values()) {
      seen.heldSince = now
      seen.takeableAt = Math.max(seen.takeableAt, now)
      seen.workedAt = now
    }
  }

  #markIdle(tasks: readonly Task[], fleet: Fleet, at: number): void {
    for (const [agent, signs] of this.#idle) {
      if (this.#busy.has(agent) || (fleet.standing(agent)?.signs ?? 0) !== signs) this.#idle.delete(agent)
    }
    for (const task of tasks) {
      const since = this.takeableSince(task, at)
      const [agent] = agentOf(task.holder, fleet)
      if (since === null || agent === undefined || this.#busy.has(agent)) continue
      if (since + this.#takeWithinMs <= at && !this.#idle.has(agent))
        this.#idle.set(agent, fleet.standing(agent)?.signs ?? 0)
    }
  }
}

/** A task as it was read last, and its clocks. */
interface Seen {
  readonly task: Task
  readonly signs: number
  /** Since when it has been in the same hands, taken or not. */
  heldSince: number
  takeableAt: number
  workedAt: number
  /** When its deadline passes. */
  readonly dueAt: number
}

function see(task: Task, known: Seen | undefined, signs: number, at: number, wall: number): Seen {
  const isSame = known !== undefined && isInSameHands(known.task, task)
  const isStill = isSame && !showsWork(known.task, task) && known.signs === signs
  const { deadline } = task
  const dueAt = deadline === null ? Number.POSITIVE_INFINITY : at + (deadline - wall)
  return {
    task,
    signs,
    heldSince: isSame ? known.heldSince : at,
    takeableAt: isSame ? known.takeableAt : at + pauseLeft(task, wall),
    workedAt: isStill ? known.workedAt : at,
    dueAt: known !== undefined && known.task.deadline === deadline ? known.dueAt : dueAt,
  }
}

function isInSameHands(x: Task, y: Task): boolean {
  return x.epoch === y.epoch && x.holder === y.holder && isLeased(x.state) === isLeased(y.state)
}

function showsWork(before: Task, after: Task): boolean {
  if (before.work !== after.work || before.progress !== after.progress) return true
  return after.work === 0 && before.leaseSeq !== after.leaseSeq // its holder does not look for signs
}

function pauseLeft({ pause }: Task, wall: number): number {
  return pause === null ? 0 : Math.min(pause.until - pause.from, Math.max(0, pause.until - wall))
}

function agentOf(holder: SessionId | null, fleet: Fleet): string[] {
  const agent = holder === null ? undefined : fleet.agentOf(holder)
  return agent === undefined ? [] : [agent]
}

function signsOf({ holder }: Task, fleet: Fleet): number {
  const [agent] = agentOf(holder, fleet)
  return agent === undefined ? 0 : (fleet.standing(agent)?.signs ?? 0)
}
