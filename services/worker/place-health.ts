import { type Condition, cleanInstant } from '#fleet/agent-condition.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { PlaceFault } from './place-fault.ts'

/** The pauses between two probes: each is twice the one before. */
const PAUSE_FIRST_MS = 60_000
const PAUSE_MAX_MS = 30 * 60_000
/** How long after the instant that a limit is said to end at. Not all workers of an account come back in the same second. */
const AFTER_END_MS = 5_000
const SPREAD_MS = 10_000
/** The longest wait, whatever is said: a limit may be lifted earlier. */
const WAIT_MAX_MS = 24 * 3_600_000

/**
 * Whether commands can work in this place. After a fault nothing is begun until a probe: a look at what is missing, or else
 * one task, which is begun as any other.
 */
export class PlaceHealth {
  readonly #clock: Clock
  readonly #chance: Chance
  #fault: PlaceFault | null = null
  /** Faults since a task ended well; a look that finds nothing wrong does not make it well yet. */
  #faults = 0
  #isProbing = false
  /** By the clock that never jumps, and by that on the wall: it may have slept meanwhile. */
  #dueAt = 0
  #dueAtWall = Number.POSITIVE_INFINITY

  constructor(clock: Clock, chance: Chance) {
    this.#clock = clock
    this.#chance = chance
  }

  /** The fault that keeps it from working; null where it may. */
  get fault(): PlaceFault | null {
    return this.#isProbing ? null : this.#fault
  }

  get condition(): Condition | null {
    if (this.#fault === null) return null
    const { state, why, until } = this.#fault
    if (this.#isProbing) return { state: 'probing', why, until }
    // An end that is not believed is none: it lasts until the next try at least.
    return { state, why, until: until === null || this.#faults < 2 ? until : Math.max(until, this.#dueAtWall) }
  }

  /** Milliseconds until the next probe. */
  waitMs(): number {
    return Math.max(0, Math.min(this.#dueAt - this.#clock.now(), this.#dueAtWall - this.#clock.wall()))
  }

  /** A command could not work here. */
  hasFailed(fault: PlaceFault): void {
    this.#fault = { ...fault, until: cleanInstant(fault.until) }
    this.#isProbing = false
    this.#faults += 1
    this.#pause()
  }

  /** A task ended, and the place was not to blame. Answers whether that is news. */
  hasWorked(): boolean {
    const wasIll = this.#fault !== null
    this.#fault = null
    this.#isProbing = false
    this.#faults = 0
    return wasIll
  }

  /** The probe, when it is due: `well` by a look, `probing` where a task has to show it, `ill` where the look finds it so. */
  probe(): 'well' | 'probing' | 'ill' {
    const why = this.#fault?.look?.()
    if (why === undefined) {
      this.#isProbing = true
      return 'probing'
    }
    if (why === null) {
      this.#fault = null
      return 'well'
    }
    if (this.#fault !== null) this.hasFailed({ ...this.#fault, why })
    return 'ill'
  }

  #pause(): void {
    const { until = null } = this.#fault ?? {}
    const grown = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** Math.min(this.#faults - 1, 30))
    const grownMs = grown * (0.9 + 0.2 * this.#chance())
    const endMs = until === null ? 0 : until - this.#clock.wall() + AFTER_END_MS + SPREAD_MS * this.#chance()
    // Said ends are believed once: where the next run fails too, they are not the whole truth.
    const waitMs = until === null || this.#faults > 1 ? Math.max(grownMs, endMs) : Math.max(AFTER_END_MS, endMs)
    this.#dueAt = this.#clock.now() + Math.min(WAIT_MAX_MS, waitMs)
    this.#dueAtWall = until === null ? Number.POSITIVE_INFINITY : this.#clock.wall() + Math.min(WAIT_MAX_MS, waitMs)
  }
}
