import type { Clock } from './clock.ts'

/**
 * Repeats a step until the signal aborts: at once while a step says there was work, else after the pause or a nudge.
 * An error of a step goes to `onError`, which answers how long to wait; the loop itself never dies of one.
 */
export interface LoopParts {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** One step; answers milliseconds until the next one is wanted (0: at once). */
  step(): Promise<number>
  /** Answers milliseconds to wait after a failed step. */
  onError(error: unknown): number
}

export class Loop {
  readonly #parts: LoopParts
  #pause: AbortController | undefined
  #nudged = false
  /** Settles when the signal has aborted and the step under way has ended; never rejects. */
  readonly done: Promise<void>

  constructor(parts: LoopParts) {
    this.#parts = parts
    parts.signal.addEventListener('abort', () => this.#pause?.abort(), { once: true })
    this.done = Promise.resolve().then(() => this.#run()) // not before whoever makes the loop holds it
  }

  /** Asks for a step now. During a step it asks for one more after it; after a failed one the wait is kept. */
  nudge(): void {
    this.#nudged = true
    this.#pause?.abort()
  }

  async #run(): Promise<void> {
    const { clock, signal, step, onError } = this.#parts
    while (!signal.aborted) {
      this.#nudged = false
      let waitMs: number
      try {
        waitMs = await step()
      } catch (error) {
        if (signal.aborted) return
        waitMs = onError(error)
        this.#nudged = false
      }
      if (this.#nudged || signal.aborted) continue
      this.#pause = new AbortController()
      await clock.sleep(waitMs, this.#pause.signal).catch(() => undefined)
      this.#pause = undefined
    }
  }
}
