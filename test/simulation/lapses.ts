import type { Timeline } from './clock.ts'

/** The agents that a lapse keeps from working or from being heard; an empty list: none of them. */
export type Touched = 'all' | readonly string[]

/** A time in which something was broken, by its name, in milliseconds of the world. */
export interface Lapse {
  readonly fault: string
  readonly touches: Touched
  readonly from: number
  /** Infinity while it lasts. */
  to: number
}

/** The lapse of an agent that the bridge does not believe, because its token counts no more or its conversation has ended. */
export const KEPT_OUT = 'kept out'

/** The lapse of an agent whose beats are lost one after the other: by chance alone it may be silent, with nothing else broken. */
export const BEATS_LOST = 'beats lost'

/** All that was broken in a world, and when: whatever a program does to an agent has to have a reason among them. */
export class Lapses {
  readonly #timeline: Timeline
  readonly #all: Lapse[] = []
  /** Told of each that is over. */
  onEnd: (lapse: Lapse) => void = () => undefined

  constructor(timeline: Timeline) {
    this.#timeline = timeline
  }

  /** Answers what ends it. */
  begin(fault: string, touches: Touched): () => void {
    const lapse: Lapse = { fault, touches, from: this.#timeline.now, to: Number.POSITIVE_INFINITY }
    this.#all.push(lapse)
    return () => {
      lapse.to = Math.min(lapse.to, this.#timeline.now)
      this.onEnd(lapse)
    }
  }

  /** When the last one ended that touched an agent: Infinity while one lasts; 0, as all had to begin, where none did. */
  lastEnd(agent: string): number {
    return this.#of(agent).reduce((last, { to }) => Math.max(last, to), 0)
  }

  /**
   * The lapses that something which happens now may come from: those that last or ended within `withinMs`, and those that they
   * cannot be told apart from, because one began before the other was over for so long. `agent` null: whoever they touch.
   */
  behind(agent: string | null, withinMs: number): Lapse[] {
    const chain: Lapse[] = []
    let first = this.#timeline.now
    for (const lapse of this.#of(agent).sort((one, other) => other.to - one.to)) {
      if (lapse.to < first - withinMs) break
      chain.push(lapse)
      first = Math.min(first, lapse.from)
    }
    return chain
  }

  /** Milliseconds up to now in which nothing kept all agents at once from working or from being heard. */
  clearMs(): number {
    const { now } = this.#timeline
    let [clear, clearFrom] = [0, 0]
    const ofAll = this.#all.filter(({ touches }) => touches === 'all').sort((one, other) => one.from - other.from)
    for (const { from, to } of [...ofAll, { from: now, to: now }]) {
      clear += Math.max(0, from - clearFrom)
      clearFrom = Math.max(clearFrom, to)
    }
    return clear
  }

  #of(agent: string | null): Lapse[] {
    return this.#all.filter(({ touches }) => agent === null || touches === 'all' || touches.includes(agent))
  }
}
