import type { Roster } from './failure-detector.ts'
import { isLeased, type Task } from './task.ts'

/** What the decisions ask of the leases. */
export type LeaseReader = Pick<LeaseObserver, 'stillSince' | 'heldSince' | 'lapsedAt' | 'isRenewedAfter' | 'isStuck'>

/**
 * When each open task last showed a sign of its holder, by the observer's own clock. A lease lapses when its sequence
 * stood still for leaseMs. An agent that lets one lapse and renews no other is stuck until it shows work: the beats of
 * its daemon do not vouch for it, and what it was assigned but never took must go as well.
 *
 * Tasks that an agent of the Python bridge took have no incarnation: nobody renews those, so they do not lapse.
 */
export class LeaseObserver {
  readonly #leaseMs: number
  #signs = new Map<string, LeaseSign>()
  #observedAt = 0
  #nextLapse = Number.POSITIVE_INFINITY
  readonly #stuck = new Map<string, StuckAgent>()

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs
  }

  /**
   * Takes in all open tasks, which were asked for at `now`. Answers the agents that lost tasks since the last time. What has
   * changed may have done so until the answer came, at `answeredAt`.
   */
  observe(
    tasks: readonly Task[],
    roster: Pick<Roster, 'agentOf' | 'standing'>,
    now: number,
    answeredAt = now,
  ): ReadonlySet<string> {
    const before = this.#signs
    const losers = new Set<string>()
    this.#signs = new Map()
    this.#observedAt = now
    for (const task of tasks) {
      const agent = task.holder === null ? null : (roster.agentOf(task.holder) ?? null)
      const known = before.get(task.id)
      const stoodStill = known !== undefined && isUnchanged(known.task, task)
      const heldSince = known !== undefined && isSameHolding(known.task, task) ? known.heldSince : answeredAt
      this.#signs.set(task.id, { task, agent, at: stoodStill ? known.at : answeredAt, heldSince })
      if (known !== undefined && known.agent !== null && known.task.holder !== task.holder) losers.add(known.agent)
      if (!stoodStill && agent !== null && isLeased(task.state)) this.#stuck.delete(agent)
    }
    this.#markStuck(roster)
    this.#findNextLapse()
    return losers
  }

  /** Since when nothing happened to this task; null when it was not observed. */
  stillSince(task: Task): number | null {
    return this.#signs.get(task.id)?.at ?? null
  }

  /** Since when it has been its holder's, whatever the holder did since; null when it was not observed. */
  heldSince(task: Task): number | null {
    return this.#signs.get(task.id)?.heldSince ?? null
  }

  /** Since when the holder has let this task lie; null while it does not. */
  lapsedAt(task: Task): number | null {
    const sign = this.#signs.get(task.id)
    if (sign === undefined || sign.agent === null) return null
    const stuck = this.#stuck.get(sign.agent)
    if (!hasLease(sign.task) && stuck === undefined) return null
    if (sign.at + this.#leaseMs <= this.#observedAt) return sign.at + this.#leaseMs
    return stuck !== undefined && sign.at <= stuck.at ? stuck.at : null
  }

  /** Whether its holder goes on renewing it, so long after this moment that it cannot have died then. */
  isRenewedAfter(task: Task, moment: number): boolean {
    const sign = this.#signs.get(task.id)
    if (sign === undefined || !hasLease(sign.task)) return false
    return sign.at > moment + this.#leaseMs / 2 && sign.at + this.#leaseMs > this.#observedAt
  }

  isStuck(agent: string): boolean {
    return this.#stuck.has(agent)
  }

  /** When the next lease lapses unless it is renewed; Infinity when none can. */
  get nextLapse(): number {
    return this.#nextLapse
  }

  /** The observer was paused or blind: every lease counts as renewed now. */
  grace(now: number): void {
    for (const sign of this.#signs.values()) sign.at = now
    this.#findNextLapse()
  }

  #findNextLapse(): void {
    this.#nextLapse = Number.POSITIVE_INFINITY
    for (const { task, at } of this.#signs.values()) {
      const lapse = at + this.#leaseMs
      if (hasLease(task) && lapse > this.#observedAt) this.#nextLapse = Math.min(this.#nextLapse, lapse)
    }
  }

  #markStuck(roster: Pick<Roster, 'standing'>): void {
    const lapsed = new Set<string>()
    const renewing = new Set<string>()
    for (const { task, agent, at } of this.#signs.values()) {
      if (agent === null || !hasLease(task)) continue
      const side = at + this.#leaseMs <= this.#observedAt ? lapsed : renewing
      side.add(agent)
    }
    for (const [agent, { signs }] of this.#stuck) {
      if (roster.standing(agent)?.signs !== signs) this.#stuck.delete(agent)
    }
    for (const agent of lapsed) {
      if (renewing.has(agent) || this.#stuck.has(agent)) continue
      this.#stuck.set(agent, { at: this.#observedAt, signs: roster.standing(agent)?.signs ?? 0 })
    }
  }
}

/** A task as it was read last, and when that last changed. */
interface LeaseSign {
  readonly task: Task
  /** The agent that held it when it was read. */
  readonly agent: string | null
  at: number
  readonly heldSince: number
}

/** When an agent was found stuck, and how many signs of work it had shown by then. */
interface StuckAgent {
  readonly at: number
  readonly signs: number
}

function hasLease(task: Task): boolean {
  return isLeased(task.state) && task.incarnation !== null
}

function isSameHolding(x: Task, y: Task): boolean {
  return x.epoch === y.epoch && x.holder === y.holder
}

function isUnchanged(x: Task, y: Task): boolean {
  return (
    x.epoch === y.epoch &&
    x.state === y.state &&
    x.leaseSeq === y.leaseSeq &&
    x.holder === y.holder &&
    x.incarnation === y.incarnation
  )
}
