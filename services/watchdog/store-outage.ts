import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { AlertSender } from './alert-sender.ts'
import type { WatchConfig } from './config.ts'
import { storeAwayIncident } from './incident-texts.ts'

/** The loops of the watchdog that ask the store. */
type LoopName = 'read beats' | 'look' | 'write verdicts' | 'restart' | 'report channels'

export interface StoreOutageParts {
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Who tells people that the store is away. */
  readonly senders: readonly AlertSender[]
  /** Called whenever the store failed, with how long it has. */
  onError?(error: unknown, failingMs: number): void
  /** Called when the store answers every loop again. */
  onWell?(): void
}

/** Since when a loop has failed, and the pauses between its tries. */
interface Failure {
  readonly since: number
  readonly pauses: Pauses
}

/** Waits out a store that does not answer. People are told when that lasts, and once more when it is over. */
export class StoreOutage {
  readonly #config: Pick<WatchConfig, 'watchMs' | 'lateAfterMs'>
  readonly #parts: StoreOutageParts
  readonly #failures = new Map<LoopName, Failure>()
  readonly #known = new KnownTroubles()
  #isReported = false

  constructor(config: Pick<WatchConfig, 'watchMs' | 'lateAfterMs'>, parts: StoreOutageParts) {
    this.#config = config
    this.#parts = parts
  }

  /** Repeats a step; its failures are waited out with growing pauses. */
  loop(name: LoopName, step: () => Promise<number>): Loop {
    const { clock, signal } = this.#parts
    return new Loop({
      clock,
      signal,
      onError: (error) => this.#noteFailure(name, error),
      step: async () => {
        const waitMs = await step()
        this.#noteSuccess(name)
        return waitMs
      },
    })
  }

  #noteSuccess(name: LoopName): void {
    const failure = this.#failures.get(name)
    if (failure === undefined) return
    this.#failures.delete(name)
    this.#known.isOver(name)
    this.#parts.log.info('store answers again', { to: name, failures: failure.pauses.failures })
    if (this.#failures.size > 0) return
    if (this.#isReported) this.#report('closed')
    this.#parts.onWell?.()
  }

  /** Answers how long to wait before the next try. */
  #noteFailure(name: LoopName, error: unknown): number {
    const { clock, log } = this.#parts
    const failure = this.#failures.get(name) ?? { since: clock.now(), pauses: this.#newPauses() }
    this.#failures.set(name, failure)
    if (this.#known.isNew(name, String(error))) log.warn('store does not answer, retrying', { to: name, error })
    const failingMs = clock.now() - failure.since
    if (!this.#isReported && failingMs > this.#config.lateAfterMs) this.#report('opened')
    this.#parts.onError?.(error, failingMs)
    return failure.pauses.failed()
  }

  #newPauses(): Pauses {
    const { watchMs, lateAfterMs } = this.#config
    return new Pauses({ firstMs: watchMs, mostMs: lateAfterMs / 3, leastMs: watchMs / 2 }, this.#parts.chance)
  }

  /** The store cannot keep this incident, as it is the store that is away. */
  #report(event: 'opened' | 'closed'): void {
    this.#isReported = event === 'opened'
    const incident = storeAwayIncident(this.#config.lateAfterMs)
    const outcome = event === 'closed' ? 'the watchdog reaches its store again, and judges agents' : null
    for (const sender of this.#parts.senders) sender.sendUnstored(incident, event, outcome)
  }
}
