import type { Roster } from './failure-detector.ts'
import type { SessionId } from './session-id.ts'
import { isLeased, type Task } from './task.ts'

/** What the decisions ask of the work. */
export type WorkReader = Pick<
  WorkObserver,
  'pendingSince' | 'takeableSince' | 'untakenSince' | 'workedAt' | 'shownAt' | 'isDeadlinePassed' | 'isIdle' | 'isBusy'
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
  /** When agents that hold tasks were seen at work last. */
  #busyAt: ReadonlyMap<string, number> = new Map()
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
    this.#noteBusy(tasks, before, fleet, at, wall)
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

  /** Since when this agent, which holds it and has done nothing else, could have taken it; null where it has, or may not yet. */
  untakenSince(task: Task, agent: string, at: number): number | null {
    const since = this.takeableSince(task, at)
    return since === null ? null : Math.max(since, this.#busyAt.get(agent) ?? since)
  }

  /** When it last showed work; null where nobody works at it. */
  workedAt(task: Task): number | null {
    return isLeased(task.state) ? (this.#seen.get(task.id)?.workedAt ?? null) : null
  }

  /** When it was seen to show work, and not only counted as if it had; null where that was not since the last grace. */
  shownAt(task: Task): number | null {
    return isLeased(task.state) ? (this.#seen.get(task.id)?.shownAt ?? null) : null
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
    this.#idle.clear()
    for (const seen of this.#seen.values()) {
      seen.heldSince = now
      seen.takeableAt = Math.max(seen.takeableAt, now)
      seen.workedAt = now
      seen.shownAt = null
      seen.isGraced = true
    }
  }

  /** Whoever has work without end is often seen between two tasks: what it had and has not any more it has done since. */
  #noteBusy(tasks: readonly Task[], before: ReadonlyMap<string, Seen>, fleet: Fleet, at: number, wall: number): void {
    const busy = new Set(this.#busy)
    for (const { task } of before.values()) {
      if (!wasTaken(task, this.#seen.get(task.id)?.task, wall)) continue
      for (const agent of agentOf(task.holder, fleet)) busy.add(agent)
    }
    const busyAt = new Map<string, number>()
    for (const agent of tasks.flatMap(({ holder }) => agentOf(holder, fleet))) {
      const last = busy.has(agent) ? at : this.#busyAt.get(agent)
      if (last !== undefined) busyAt.set(agent, last)
    }
    this.#busyAt = busyAt
  }

  #markIdle(tasks: readonly Task[], fleet: Fleet, at: number): void {
    for (const [agent, signs] of this.#idle) {
      if (this.#busy.has(agent) || (fleet.standing(agent)?.signs ?? 0) !== signs) this.#idle.delete(agent)
    }
    for (const task of tasks) {
      const [agent] = agentOf(task.holder, fleet)
      if (agent === undefined || this.#busy.has(agent)) continue
      const since = this.untakenSince(task, agent, at) ?? Number.POSITIVE_INFINITY
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
  shownAt: number | null
  /** What changed since is of an unknown time. */
  isGraced: boolean
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
    shownAt: isStill ? known.shownAt : isSame && !known.isGraced ? at : null,
    isGraced: false,
    dueAt: known !== undefined && known.task.deadline === deadline ? known.dueAt : dueAt,
  }
}

function isInSameHands(x: Task, y: Task): boolean {
  return x.epoch === y.epoch && x.holder === y.holder && isLeased(x.state) === isLeased(y.state)
}

/** Whether a task was begun since it was read. One that is open no more was, unless its deadline ended it. */
function wasTaken(before: Task, now: Task | undefined, wall: number): boolean {
  if (now === undefined) return before.deadline === null || wall < before.deadline
  return now.attempts.length !== before.attempts.length
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
