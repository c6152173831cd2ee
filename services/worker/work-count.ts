import type { RunningCommand } from './running-command.ts'

/**
 * The signs of work in one attempt, as the fleet counts them: 1 once somebody looks, and one more for each look that saw a
 * sign. Where nobody can look it says nothing.
 */
export class WorkCount {
  #count = 0
  #hasSign = false

  /** What a report says of it. */
  get report(): { readonly work?: number } {
    return this.#count === 0 ? {} : { work: this.#count }
  }

  /** Notes a sign that shows otherwise than by a look. */
  noteSign(): void {
    this.#hasSign = true
  }

  async look(running: RunningCommand | null): Promise<void> {
    if (running?.hasWorked === undefined) return
    const hasWorked = (await running.hasWorked()) || this.#hasSign
    this.#hasSign = false
    if (hasWorked || this.#count === 0) this.#count += 1
  }
}
