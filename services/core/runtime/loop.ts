import type { Clock } from './clock.ts'

/**
 * Repeats a step until the signal aborts, after the pause that the step answers or a nudge. An error of a step goes to
 * `onError`, which answers the pause; it never ends the loop.
 */
export interface LoopParts {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** One step; answers milliseconds until the next one (0: at once). */
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
    this.done = Promise.resolve().then(() => this.#run()) // so that the caller has the loop before its first step
  }

  /** Starts a step now, or one more after the present step; a failed step still waits its pause. */
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
