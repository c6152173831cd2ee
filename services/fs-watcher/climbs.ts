import type { Rung } from '#fleet/wake-ladder.ts'
import type { WakeTarget } from './mail-source.ts'

/** Rungs that are tried at a time on one host: each may start a command, or hold a connection. */
const TRIES_MAX = 8
/** Turns of resumed sessions at a time: each is a client that runs for minutes, and no other rung waits for it. */
const TURNS_MAX = 8

/** The climbs of this host: one at a time for an agent, those of several agents side by side. */
export class Climbs {
  /** The last climb of each agent, which begins when the one before it has ended. */
  readonly #last = new Map<WakeTarget, Promise<void>>()
  readonly #taken = { tries: 0, turns: 0 }

  /** Whether an agent has a climb that goes on, or waits for its turn. */
  isBusy(target: WakeTarget): boolean {
    return this.#last.has(target)
  }

  /** Runs a climb once the earlier ones of its agent have ended. Rejects as the climb does, or where the signal has aborted by then. */
  async inTurn<T>(target: WakeTarget, climb: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const climbing = (this.#last.get(target) ?? Promise.resolve()).then(() => {
      signal.throwIfAborted()
      return climb()
    })
    const over = (): void => {
      if (this.#last.get(target) === ended) this.#last.delete(target)
    }
    const ended = climbing.then(over, over)
    this.#last.set(target, ended)
    return await climbing
  }

  /** A place to try a rung in, until it is disposed; null while all are taken. What is only waited for takes none. */
  takePlace(rung: Rung): Disposable | null {
    const [kind, most] = rung === 'resume' ? (['turns', TURNS_MAX] as const) : (['tries', TRIES_MAX] as const)
    if (this.#taken[kind] >= most) return null
    this.#taken[kind] += 1
    return {
      [Symbol.dispose]: () => {
        this.#taken[kind] -= 1
      },
    }
  }

  /** Settles when no climb goes on. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values())
  }
}
