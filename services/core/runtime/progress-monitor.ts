import type { Clock } from './clock.ts'
import { Loop } from './loop.ts'

/** How long a round of work may take unless its program says otherwise: what systemd waits too (WatchdogSec). */
export const ROUND_MS = 30_000
/** How often a slow program that is in time is vouched for. */
const VOUCH_MS = 10_000

/** Knows whether rounds of work still come to their end. */
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
   * Speaks for a program whose rounds may take longer than a service manager waits, for as long as none is overdue. In a blocked
   * event loop this falls silent too.
   */
  vouch(say: () => void, signal: AbortSignal): Promise<void> {
    const step = async (): Promise<number> => {
      if (!this.isStuck) say()
      return VOUCH_MS
    }
    return new Loop({ clock: this.#clock, signal, step, onError: () => VOUCH_MS }).done
  }
}
