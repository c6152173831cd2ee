/**
 * Passes hints to those who listen at that moment. Nothing is kept: hints that come while a listener is busy reach it as
 * one, and hints that come while nobody listens are lost.
 */
export class HintChannel<T extends string = string> implements Disposable {
  readonly #listeners = new Set<Listener<T>>()
  #isOver = false

  /** Hints that something has changed for each of these. */
  give(concerned: readonly T[]): void {
    for (const listener of this.#listeners) listener.put(concerned)
  }

  /** Ends when the signal aborts, or the channel is disposed. */
  async *heard(signal: AbortSignal): AsyncGenerator<readonly T[]> {
    const listener = new Listener<T>()
    const wake = (): void => listener.wake()
    this.#listeners.add(listener)
    signal.addEventListener('abort', wake, { once: true })
    try {
      while (!signal.aborted && !this.#isOver) {
        const concerned = listener.take()
        if (concerned.length > 0) yield concerned
        else await listener.woken()
      }
    } finally {
      this.#listeners.delete(listener)
      signal.removeEventListener('abort', wake)
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    for (const listener of this.#listeners) listener.wake()
  }
}

class Listener<T> {
  readonly #waiting = new Set<T>()
  #wake: PromiseWithResolvers<void> = Promise.withResolvers()

  put(concerned: readonly T[]): void {
    for (const each of concerned) this.#waiting.add(each)
    this.wake()
  }

  take(): T[] {
    const taken = [...this.#waiting]
    this.#waiting.clear()
    return taken
  }

  wake(): void {
    this.#wake.resolve()
  }

  /** Settles at once when it was woken since it last waited. */
  async woken(): Promise<void> {
    await this.#wake.promise
    this.#wake = Promise.withResolvers()
  }
}
