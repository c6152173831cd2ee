import type { Clock } from './clock.ts'
import { Loop } from './loop.ts'

/** How long a round of work may take by default: as long as WatchdogSec of the units. */
export const ROUND_MS = 30_000
/** How often the watchdog is fed for a program with longer rounds. */
const VOUCH_MS = 10_000

/** Tells whether a round of work is overdue. */
export class ProgressMonitor {
  readonly #roundMs: number
  readonly #clock: Clock
  /** Null until the program is ready: a start has its own deadline. */
  #endedAt: number | null = null

  constructor(roundMs: number, clock: Clock) {
    this.#roundMs = roundMs
    this.#clock = clock
  }

  /** The program is ready, or a round has ended. */
  beat(): void {
    this.#endedAt = this.#clock.now()
  }

  get isStuck(): boolean {
    return this.#endedAt !== null && this.#clock.now() - this.#endedAt > this.#roundMs
  }

  /**
   * Feeds the service manager's watchdog for a program whose rounds may take longer than it waits, while no round is overdue. A
   * blocked event loop stops this too.
   */
  vouch(say: () => void, signal: AbortSignal): Promise<void> {
    const step = async (): Promise<number> => {
      if (!this.isStuck) say()
      return VOUCH_MS
    }
    return new Loop({ clock: this.#clock, signal, step, onError: () => VOUCH_MS }).done
  }
}
