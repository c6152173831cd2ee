import type { Roster } from './failure-detector.ts'
import type { SessionId } from './session-id.ts'
import { isHeldByHand, isHeldByWorker, isLeased, type Task } from './task.ts'

/** What the decisions ask of the work. */
export type WorkReader = Pick<
  WorkObserver,
  | 'pendingSince'
  | 'takeableSince'
  | 'untakenSince'
  | 'workedAt'
  | 'hasShownSince'
  | 'isDeadlinePassed'
  | 'letLieBy'
  | 'isIdle'
  | 'isBusy'
  | 'activityOf'
  | 'isWorker'
>

type Fleet = Pick<Roster, 'agentOf' | 'standing'>

/** What an agent did that let its tasks lie until then: it took one, or showed another sign of life. */
export type Activity = 'took' | 'showed'

/** What is known of agents besides their tasks. */
interface KnownAgents {
  readonly told: ReadonlySet<string>
  readonly unable: ReadonlySet<string>
  /** Those whose client shows a dialog: it goes on only when a person answers. */
  readonly waiting: ReadonlySet<string>
  /** Those whose client shows its work by signs of its own. */
  readonly watched: ReadonlySet<string>
}

const NOBODY: ReadonlySet<string> = new Set()

/** An agent of which people were told that it takes nothing. */
interface Told {
  /** How much work it had shown when it was found to take nothing. */
  signs: number
  /** What it did since; null where it did nothing. */
  activity: Activity | null
}

/**
 * The clocks of tasks, by the observer's own clock: since when nobody has one, since when its holder could have taken it, and
 * when it last showed work. Signs of work are what its holder reports (output, processor time, children of its command),
 * progress, and what the agent itself does; that a lease is renewed is none, unless its holder does not look for signs. While a
 * client waits for a person, the clocks of what it holds stand still.
 *
 * An agent that lets a task lie though it does nothing else is idle: it beats, and nothing works beside it. It is so until it
 * takes a task or shows work.
 */
export class WorkObserver {
  readonly #takeWithinMs: number
  #seen = new Map<string, Seen>()
  #busy: ReadonlySet<string> = new Set()
  /** When agents that hold tasks were seen last at work, or unable to work. */
  #busyAt: ReadonlyMap<string, number> = new Map()
  /** How much work the idle agents had shown when they were found idle. */
  readonly #idle = new Map<string, number>()
  readonly #told = new Map<string, Told>()
  /** Agents that worked by `s2 work`, as far as this observer saw that. */
  readonly #workers = new Set<string>()

  constructor(takeWithinMs: number) {
    this.#takeWithinMs = takeWithinMs
  }

  /**
   * Takes in all open tasks, which were asked for at `at`, by the observer's clock; `wall` is its wall clock. Of the agents `told`
   * people know that they take nothing, whichever observer found that. The agents `unable` say that they cannot work: their time to
   * take a task begins when they can again, and so does that of those who wait for a person. What has changed may have done so until
   * the answer came, at `answeredAt`.
   */
  observe(
    tasks: readonly Task[],
    fleet: Fleet,
    at: number,
    wall: number,
    known: Partial<KnownAgents> = {},
    answeredAt = at,
  ): void {
    const { told = NOBODY, waiting = NOBODY, watched = NOBODY } = known
    const unable = (known.unable ?? NOBODY).union(waiting)
    const before = this.#seen
    this.#seen = new Map(
      tasks.map((task) => {
        const known = before.get(task.id)
        const [agent = ''] = agentOf(task.holder, fleet)
        const isStopped = waiting.has(agent) && isHeldByHand(task)
        const signs = { agent: signsOf(task, fleet), areItsOwn: watched.has(agent) && isHeldByHand(task), isStopped }
        const seen = see(task, known, signs, { at: answeredAt, wall: wall + (answeredAt - at) })
        return [task.id, { ...seen, letLieBy: this.#letLieBy(task, known, fleet) }]
      }),
    )
    for (const task of tasks.filter(isHeldByWorker))
      for (const agent of agentOf(task.holder, fleet)) this.#workers.add(agent)
    this.#busy = new Set(tasks.flatMap(({ state, holder }) => (isLeased(state) ? agentOf(holder, fleet) : [])))
    const begun = this.#noteBusy(tasks, before, fleet, answeredAt, wall, unable)
    this.#takeTold(told, fleet)
    this.#markIdle(tasks, fleet, at, unable)
    this.#noteActivity(begun, this.#withTasksToTake(tasks, fleet, at), fleet)
  }

  /** Since when nobody has it. */
  pendingSince(task: Task): number | null {
    return task.holder === null ? (this.#seen.get(task.id)?.pendingSince ?? null) : null
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

  /** Whether it was seen to show work, or to be begun, since then. */
  hasShownSince({ id }: Task, moment: number): boolean {
    return (this.#seen.get(id)?.shownAt ?? Number.NEGATIVE_INFINITY) > moment
  }

  /** A clock that is put back makes a deadline no later; one that is put forward makes it come. */
  isDeadlinePassed({ id, deadline }: Task, at: number, wall: number): boolean {
    if (deadline === null) return false
    return wall >= deadline || (this.#seen.get(id)?.dueAt ?? Number.POSITIVE_INFINITY) <= at
  }

  /** Agents from which it went to another, or to nobody, while they let it lie, as far as this observer saw that. */
  letLieBy({ id }: Task): readonly string[] {
    return this.#seen.get(id)?.letLieBy ?? []
  }

  isIdle(agent: string): boolean {
    return this.#idle.has(agent)
  }

  /** What an agent did since people were told that it takes nothing; null while it does nothing, or lets a task lie again. */
  activityOf(agent: string): Activity | null {
    return this.#told.get(agent)?.activity ?? null
  }

  /** It has worked by `s2 work`, whatever its clients do. */
  isWorker(agent: string): boolean {
    return this.#workers.has(agent)
  }

  /** It works at a task. */
  isBusy(agent: string): boolean {
    return this.#busy.has(agent)
  }

  /** The observer was paused or blind: whatever happened meanwhile counts as if it had happened now. Deadlines go on. */
  grace(now: number): void {
    this.#idle.clear()
    for (const seen of this.#seen.values()) {
      seen.pendingSince = now
      seen.takeableAt = Math.max(seen.takeableAt, now)
      seen.workedAt = now
    }
  }

  #letLieBy(task: Task, known: Seen | undefined, fleet: Fleet): readonly string[] {
    if (known === undefined) return []
    const { holder, state } = known.task
    const [agent] = holder === task.holder || state !== 'assigned' ? [] : agentOf(holder, fleet)
    const isNew = agent !== undefined && this.#idle.has(agent) && !known.letLieBy.includes(agent)
    return isNew ? [...known.letLieBy, agent] : known.letLieBy
  }

  /**
   * Whoever has work without end is often seen between two tasks: what it had and has not any more it has done since. Answers
   * who works, or has worked since the tasks were read last.
   */
  #noteBusy(
    tasks: readonly Task[],
    before: ReadonlyMap<string, Seen>,
    fleet: Fleet,
    at: number,
    wall: number,
    unable: ReadonlySet<string>,
  ): ReadonlySet<string> {
    const busy = new Set(this.#busy)
    for (const { task } of before.values()) {
      if (!wasTaken(task, this.#seen.get(task.id)?.task, wall)) continue
      for (const agent of agentOf(task.holder, fleet)) busy.add(agent)
    }
    const busyAt = new Map<string, number>()
    for (const agent of tasks.flatMap(({ holder }) => agentOf(holder, fleet))) {
      const last = busy.has(agent) || unable.has(agent) ? at : this.#busyAt.get(agent)
      if (last !== undefined) busyAt.set(agent, last)
    }
    this.#busyAt = busyAt
    return busy
  }

  #takeTold(told: ReadonlySet<string>, fleet: Fleet): void {
    for (const agent of this.#told.keys()) if (!told.has(agent)) this.#told.delete(agent)
    for (const agent of told) {
      const signs = this.#idle.get(agent) ?? fleet.standing(agent)?.signs ?? 0
      if (!this.#told.has(agent)) this.#told.set(agent, { signs, activity: null })
    }
  }

  /** Agents that could have taken a task that they hold, and have not. */
  #withTasksToTake(tasks: readonly Task[], fleet: Fleet, at: number): ReadonlySet<string> {
    const lying = tasks.filter((task) => this.takeableSince(task, at) !== null)
    return new Set(lying.flatMap(({ holder }) => agentOf(holder, fleet)))
  }

  /**
   * Whoever lets a task lie now has done nothing that counts. Of one that has a task to take, a sign of life shows nothing yet: it takes
   * that, or lets it lie.
   */
  #noteActivity(begun: ReadonlySet<string>, withTasks: ReadonlySet<string>, fleet: Fleet): void {
    for (const [agent, told] of this.#told) {
      const idleSigns = this.#idle.get(agent)
      const signs = fleet.standing(agent)?.signs ?? 0
      told.signs = Math.min(idleSigns ?? told.signs, signs) // who has joined anew has shown none
      if (idleSigns !== undefined) told.activity = null
      else if (begun.has(agent)) told.activity = 'took'
      else if (signs > told.signs && !withTasks.has(agent)) told.activity ??= 'showed'
    }
  }

  #markIdle(tasks: readonly Task[], fleet: Fleet, at: number, unable: ReadonlySet<string>): void {
    for (const [agent, signs] of this.#idle) {
      if (this.#busy.has(agent) || unable.has(agent) || (fleet.standing(agent)?.signs ?? 0) !== signs)
        this.#idle.delete(agent)
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
  /** Since when nobody has it, where nobody does. */
  pendingSince: number
  takeableAt: number
  workedAt: number
  /** When it was seen to show work, or to be in other hands; -Infinity where neither was. */
  readonly shownAt: number
  /** When its deadline passes. */
  readonly dueAt: number
  /** Agents from which it went while they let it lie. */
  readonly letLieBy: readonly string[]
}

/** What is known of whoever holds a task. */
interface HolderSigns {
  /** How many signs of life its agent has shown. */
  readonly agent: number
  /** Its client shows its work by itself: a lease that somebody renews for it is no sign. */
  readonly areItsOwn: boolean
  /** It waits for a person. */
  readonly isStopped: boolean
}

function see(
  task: Task,
  known: Seen | undefined,
  { agent: signs, areItsOwn, isStopped }: HolderSigns,
  { at, wall }: { readonly at: number; readonly wall: number },
): Omit<Seen, 'letLieBy'> {
  const isSame = known !== undefined && isInSameHands(known.task, task)
  const isStill = isSame && !showsWork(known.task, task, areItsOwn) && known.signs === signs
  const { deadline } = task
  const dueAt = deadline === null ? Number.POSITIVE_INFINITY : at + (deadline - wall)
  return {
    task,
    signs,
    pendingSince: isSame ? known.pendingSince : at,
    takeableAt: isSame ? known.takeableAt : at + pauseLeft(task, wall),
    workedAt: isStill && !isStopped ? known.workedAt : at,
    shownAt: isStill || known === undefined ? (known?.shownAt ?? Number.NEGATIVE_INFINITY) : at,
    dueAt: known !== undefined && known.task.deadline === deadline ? known.dueAt : dueAt,
  }
}

function isInSameHands(x: Task, y: Task): boolean {
  return x.epoch === y.epoch && x.holder === y.holder && isLeased(x.state) === isLeased(y.state)
}

/** Whether its holder began a task since it was read. One that is open no more it began, unless the deadline ended it. */
function wasTaken(before: Task, now: Task | undefined, wall: number): boolean {
  if (now === undefined) return before.deadline === null || wall < before.deadline
  return now.attempts.slice(before.attempts.length).some(({ holder }) => holder === before.holder)
}

function showsWork(before: Task, after: Task, areSignsItsOwn: boolean): boolean {
  if (before.work !== after.work || before.progress !== after.progress) return true
  if (areSignsItsOwn) return false
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
