import type { Chance } from '#runtime/clock.ts'
import type { SyncOutcome } from './sync-credential.ts'

export interface LookPaceParts {
  readonly pollMs: number
  readonly chance: Chance
  /** Whether a credential lies on this host that has not ended. */
  hasCredential(): Promise<boolean>
}

/** How often a host without a credential looks for one: no hint reaches it. */
const ABSENT_MS = 10_000
/** How soon a look goes on that waits for the remote. */
const WAITING_MS = 5_000
/** How soon a hint is followed once more that led to nothing: what it tells of may be on its way still. */
const AGAIN_MS = 2_000

/** Decides when the next look is due. */
export class LookPace {
  readonly #parts: LookPaceParts
  #isHinted = false

  constructor(parts: LookPaceParts) {
    this.#parts = parts
  }

  /** The next look follows a hint. */
  noteHint(): void {
    this.#isHinted = true
  }

  /** Milliseconds from a look to the next one; `refused`: it came to nothing, and not because something was away. */
  async after(outcome: SyncOutcome['kind'] | 'refused'): Promise<number> {
    const { pollMs, hasCredential } = this.#parts
    if (outcome === 'waiting') return this.#jittered(Math.min(WAITING_MS, pollMs))
    const isInVain = this.#isHinted && outcome !== 'published'
    this.#isHinted = false
    if (isInVain) return Math.min(AGAIN_MS, pollMs)
    return this.#jittered((await hasCredential()) ? pollMs : Math.min(ABSENT_MS, pollMs))
  }

  /** Up to a tenth less, so that hosts that were started together do not ask together for ever. */
  #jittered(ms: number): number {
    return ms * (0.9 + 0.1 * this.#parts.chance())
  }
}
