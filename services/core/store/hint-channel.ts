/**
 * Passes hints to those who listen at that moment. Nothing is kept: hints that come while a listener is busy reach it as
 * one, and hints that come while nobody listens are lost.
 */
export class HintChannel implements Disposable {
  readonly #listeners = new Set<Listener>()
  #isOver = false

  give(conversations: readonly string[]): void {
    for (const listener of this.#listeners) listener.put(conversations)
  }

  /** Ends when the signal aborts, or the channel is disposed. */
  async *heard(signal: AbortSignal): AsyncGenerator<readonly string[]> {
    const listener = new Listener()
    const wake = (): void => listener.wake()
    this.#listeners.add(listener)
    signal.addEventListener('abort', wake, { once: true })
    try {
      while (!signal.aborted && !this.#isOver) {
        const conversations = listener.take()
        if (conversations.length > 0) yield conversations
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

class Listener {
  readonly #waiting = new Set<string>()
  #wake: PromiseWithResolvers<void> = Promise.withResolvers()

  put(conversations: readonly string[]): void {
    for (const each of conversations) this.#waiting.add(each)
    this.wake()
  }

  take(): string[] {
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
