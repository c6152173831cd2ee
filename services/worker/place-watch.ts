import type { Chance, Clock } from '#runtime/clock.ts'
import { ConditionReports } from './condition-reports.ts'
import type { PlaceFault } from './place-fault.ts'
import { PlaceHealth } from './place-health.ts'
import type { RunVerdict } from './run-verdict.ts'
import type { WorkEvent } from './work-event.ts'
import type { WorkerSession } from './worker-session.ts'

export interface PlaceWatchParts {
  readonly clock: Clock
  readonly chance: Chance
  say(event: WorkEvent): void
  /** Looks what is wrong with the place; null: nothing. Absent where nothing can be seen. */
  look?(): PlaceFault | null
  /** Called when the fleet is to be told. */
  onChange(): void
}

/** The longest wait between two looks at the clocks: the one on the wall may have been set, or the machine have slept. */
const LOOK_MS = 60_000

/** Watches whether commands can work in this place, tells people and the fleet, and decides when to try again. */
export class PlaceWatch {
  readonly #parts: PlaceWatchParts
  readonly #health: PlaceHealth
  readonly #reports = new ConditionReports()

  constructor(parts: PlaceWatchParts) {
    this.#parts = parts
    this.#health = new PlaceHealth(parts.clock, parts.chance)
  }

  /** Why no command can work here now; null where one may be tried. */
  get fault(): PlaceFault | null {
    return this.#health.fault
  }

  /** Milliseconds during which no work is to be asked for; 0: none. A look at the place, or a probe that is due, is made. */
  restMs(): number {
    if (this.#health.condition === null) this.#see()
    else if (this.fault !== null && this.#health.waitMs() === 0) this.#probe()
    return this.fault === null ? 0 : Math.min(LOOK_MS, this.#health.waitMs())
  }

  /** Takes in what a run showed. */
  note(verdict: RunVerdict): void {
    if (verdict.state === 'returned' && verdict.fault !== null) this.#failed(verdict.fault)
    else if (verdict.state !== 'returned' && verdict.showsWell && this.#health.hasWorked()) {
      this.#parts.say({ event: 'well' })
      this.#changed()
    }
  }

  #see(): void {
    const fault = this.#parts.look?.() ?? null
    if (fault !== null) this.#failed(fault)
  }

  #failed(fault: PlaceFault): void {
    this.#health.hasFailed(fault)
    this.#sayFault()
    this.#changed()
  }

  /** Tells the fleet, for those sessions that it does not know it of. Throws where one cannot be told. */
  async tell(sessions: readonly WorkerSession[]): Promise<void> {
    await this.#reports.tell(sessions)
  }

  #probe(): void {
    const { say } = this.#parts
    const why = this.fault?.why ?? ''
    const outcome = this.#health.probe()
    if (outcome === 'ill') this.#sayFault()
    else if (outcome === 'well') say({ event: 'well' })
    else say({ event: 'probing', why })
    if (outcome !== 'ill' || this.fault?.why !== why) this.#changed()
  }

  #changed(): void {
    this.#reports.set(this.#health.condition)
    this.#parts.onChange()
  }

  #sayFault(): void {
    if (this.fault === null) return
    const { state, why, until } = this.fault
    const ends = until === null ? null : new Date(until).toISOString()
    this.#parts.say({ event: state, why, until: ends, probeInMs: Math.round(this.#health.waitMs()) })
  }
}
