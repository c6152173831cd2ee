import type { NewIncident } from '#fleet/incident.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { AlertSender } from './alert-sender.ts'
import type { WatchConfig } from './config.ts'
import { loopFailingIncident, storeAwayIncident } from './incident-texts.ts'

/** The loops of the watchdog that ask the store. */
type LoopName = 'read beats' | 'look' | 'write verdicts' | 'restart' | 'report channels'

export interface StoreOutageParts {
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Who tells people that the store is away. */
  readonly senders: readonly AlertSender[]
  /** Whether people know already why the store fails. */
  isExplained?(): boolean
  /** Called whenever the store failed, with how long it has. */
  onError?(error: unknown, failingMs: number): void
  /** Called when the store answers every loop again. */
  onWell?(): void
}

/** Since when a loop has failed, and the pauses between its tries. */
interface Failure {
  readonly since: number
  /** What it threw first came from the store, and not from a fault of its own. */
  readonly isStoreAway: boolean
  readonly pauses: Pauses
}

interface Report {
  readonly incident: NewIncident
  readonly outcome: string
}

/**
 * Waits out a store that does not answer, and whatever else a loop throws. People are told when that lasts, which of the two it
 * is, and once more when it is over.
 */
export class StoreOutage {
  readonly #config: Pick<WatchConfig, 'watchMs' | 'lateAfterMs'>
  readonly #parts: StoreOutageParts
  readonly #failures = new Map<LoopName, Failure>()
  readonly #known = new KnownTroubles()
  /** What people were told, and what they will be told when it is over; null where nothing lasts. */
  #reported: Report | null = null

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
    const { failures } = failure.pauses
    if (failure.isStoreAway) this.#parts.log.info('store answers again', { to: name, failures })
    else this.#parts.log.info('step succeeds again', { step: name, failures })
    if (this.#failures.size > 0) return
    this.#reportEnd()
    this.#parts.onWell?.()
  }

  /** Answers how long to wait before the next try. */
  #noteFailure(name: LoopName, error: unknown): number {
    const { clock, log } = this.#parts
    const isStoreAway = hasCode(error)
    const failure = this.#failures.get(name) ?? { since: clock.now(), isStoreAway, pauses: this.#newPauses() }
    this.#failures.set(name, failure)
    const isExplained = isStoreAway && this.#parts.isExplained?.() === true
    if (this.#known.isNew(name, isExplained ? 'explained' : String(error))) {
      if (isStoreAway) log.warn('store does not answer, retrying', { to: name, error })
      else log.error('step failed, retrying', { step: name, error })
    }
    const { lateAfterMs } = this.#config
    const failingMs = clock.now() - failure.since
    if (this.#reported === null && failingMs > lateAfterMs && !isExplained)
      this.#report(
        isStoreAway
          ? {
              incident: storeAwayIncident(error, lateAfterMs),
              outcome: 'the watchdog reaches its store again, and judges agents',
            }
          : {
              incident: loopFailingIncident(name, error, lateAfterMs),
              outcome: 'the watchdog does all its work again',
            },
      )
    this.#parts.onError?.(error, failingMs)
    return failure.pauses.failed()
  }

  #newPauses(): Pauses {
    const { watchMs, lateAfterMs } = this.#config
    return new Pauses({ firstMs: watchMs, mostMs: lateAfterMs / 3, leastMs: watchMs / 2 }, this.#parts.chance)
  }

  /** No store is asked to keep this incident, as it may be the store that is away. */
  #report(report: Report): void {
    this.#reported = report
    for (const sender of this.#parts.senders) sender.sendUnstored(report.incident, 'opened')
  }

  #reportEnd(): void {
    if (this.#reported === null) return
    const { incident, outcome } = this.#reported
    this.#reported = null
    for (const sender of this.#parts.senders) sender.sendUnstored(incident, 'closed', outcome)
  }
}

/** What stores, databases and systems throw has a code; what this program does wrong by itself has none. */
function hasCode(error: unknown): boolean {
  return error instanceof Error && 'code' in error
}
