/**
 * `AbortController` and `AbortSignal` for worlds that make them by the million: the platform's make an `Event` and a
 * `DOMException` for each, which took a third of the time. `light-abort.test.ts` holds the two kinds against each other.
 */

type Listener = ((event: Event) => void) | { handleEvent(event: Event): void }

/** Nobody looks at why the signals of a world were aborted. */
const REASON = Object.assign(new Error('This operation was aborted'), { name: 'AbortError' })
const ABORT = { type: 'abort' } as Event

let end: (signal: LightSignal, reason: unknown) => void

export class LightSignal {
  #aborted = false
  #reason: unknown = undefined
  /** Most signals have one listener at most, and need no set. */
  #listeners: Set<Listener> | Listener | null = null
  /** Where it aborts with the first of others: those others. It follows them only while somebody listens. */
  #sources: readonly LightSignal[] | null = null
  #followers: Set<LightSignal> | null = null

  static {
    end = (signal, reason) => {
      if (signal.aborted) return
      const followers = [...(signal.#followers ?? [])]
      for (const each of [signal, ...followers]) each.#take(reason)
      for (const each of [signal, ...followers]) each.#tell()
    }
  }

  /** Aborts with the first of several signals. */
  static any(signals: Iterable<LightSignal>): LightSignal {
    const any = new LightSignal()
    any.#sources = [...signals].flatMap((each) => each.#sources ?? [each])
    return any
  }

  static abort(reason: unknown = REASON): LightSignal {
    const aborted = new LightSignal()
    end(aborted, reason)
    return aborted
  }

  get aborted(): boolean {
    if (!this.#aborted && this.#sources !== null) {
      const first = this.#sources.find((each) => each.#aborted)
      if (first !== undefined) this.#take(first.#reason)
    }
    return this.#aborted
  }

  get reason(): unknown {
    return this.aborted ? this.#reason : undefined
  }

  /** A signal aborts once, so that each listener is called once, whether it asks for that or not. */
  addEventListener(_type: 'abort', listener: Listener): void {
    if (this.aborted) return
    const known = this.#listeners
    if (known instanceof Set) known.add(listener)
    else if (known !== null) this.#listeners = new Set([known, listener])
    else {
      this.#listeners = listener
      this.#follow()
    }
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    const known = this.#listeners
    if (known instanceof Set) known.delete(listener)
    if (known !== listener && !(known instanceof Set && known.size === 0)) return
    this.#listeners = null
    this.#unfollow()
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.#reason
  }

  #take(reason: unknown): void {
    this.#aborted = true
    this.#reason = reason
    this.#unfollow()
    this.#sources = null
  }

  #tell(): void {
    const listeners = this.#listeners
    for (const listener of listeners instanceof Set ? listeners : listeners === null ? [] : [listeners]) {
      if (typeof listener === 'function') listener.call(this, ABORT)
      else listener.handleEvent(ABORT)
    }
    this.#listeners = null
  }

  #follow(): void {
    for (const source of this.#sources ?? []) {
      source.#followers ??= new Set()
      source.#followers.add(this)
    }
  }

  #unfollow(): void {
    for (const source of this.#sources ?? []) source.#followers?.delete(this)
  }
}

export class LightController {
  readonly signal = new LightSignal()

  abort(reason: unknown = REASON): void {
    end(this.signal, reason)
  }
}

/** Takes the place of the platform's in this thread. */
export function useLightAborts(): void {
  Object.assign(globalThis, { AbortController: LightController, AbortSignal: LightSignal })
}
