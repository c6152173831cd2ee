import { type Code, S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { type LeaseStamp, LeaseTimer, marginOf } from './lease-timer.ts'

/**
 * The state of a lease: `held`; `lost`, by the answer of the store; `unsure`, it ran out while the store was unreachable.
 */
export type LeaseStatus = 'held' | 'lost' | 'unsure'

export interface LeaseRenewerParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly leaseMs: number
  /** The time before the task was leased. */
  readonly asked: LeaseStamp
  /** Asks the store for the renewal, and reports the latest progress with it. */
  renew(): Promise<void>
  /** Called with the error of a failed renewal. */
  onTrouble(error: unknown): void
}

/** Codes of a store for a task that this holder has lost for good. */
const LOST: readonly Code[] = ['stale_epoch', 'conflict', 'not_found']

/** The longest wait for one answer, however long the lease is. */
const ANSWER_MS = 10_000

/** Renews one lease until it is released, lost, or run out. */
export class LeaseRenewer implements AsyncDisposable {
  readonly #parts: LeaseRenewerParts
  readonly #lease: LeaseTimer
  readonly #released = new AbortController()
  #pause = new AbortController()
  #asking: Promise<LeaseStatus> | null = null
  #status: LeaseStatus = 'held'
  readonly #pauses: Pauses
  #pauseMs = 0
  #wanted = false
  readonly #over = Promise.withResolvers<LeaseStatus>()
  readonly #done: Promise<void>

  constructor(parts: LeaseRenewerParts) {
    const { leaseMs } = parts
    this.#parts = parts
    this.#pauses = new Pauses({ firstMs: leaseMs / 30, mostMs: leaseMs / 6, leastMs: leaseMs / 100 }, parts.chance)
    this.#lease = new LeaseTimer(leaseMs, parts.clock, parts.asked)
    this.#done = this.#keep()
  }

  /** Settles when the lease is lost or unsure; never when it is released first. */
  get over(): Promise<LeaseStatus> {
    return this.#over.promise
  }

  /** Whether it was renewed in time, by this holder's clock. */
  get isInTime(): boolean {
    return this.#lease.leftMs() > 0
  }

  /** Asks for a renewal at once: there is progress to report, or a reason to doubt the lease. */
  nudge(): void {
    this.#wanted = true
    this.#pause.abort()
  }

  /**
   * The present state. Where the lease has run out during a pause of this process or machine, the store is asked first.
   */
  async status(): Promise<LeaseStatus> {
    if (this.#status !== 'held' || this.#lease.leftMs() > 0) return this.#status
    return await this.#ask()
  }

  /** Releases the lease: no renewal is asked for any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#released.abort()
    this.#pause.abort()
    await this.#done
  }

  async #keep(): Promise<void> {
    const { clock } = this.#parts
    while (!this.#released.signal.aborted && this.#status === 'held') {
      if (!this.#wanted) {
        this.#pause = new AbortController()
        await clock.sleep(this.#waitMs(), this.#pause.signal).catch(() => undefined)
      }
      if (this.#released.signal.aborted) return
      this.#wanted = false
      await this.#ask()
    }
  }

  #waitMs(): number {
    if (this.#pauses.failures === 0) return this.#lease.renewInMs()
    return Math.max(0, Math.min(this.#pauseMs, this.#lease.leftMs()))
  }

  /** One request at a time: later callers get the answer of the present one. */
  #ask(): Promise<LeaseStatus> {
    this.#asking ??= this.#askOnce().finally(() => {
      this.#asking = null
    })
    return this.#asking
  }

  async #askOnce(): Promise<LeaseStatus> {
    const { clock, leaseMs, renew, onTrouble } = this.#parts
    const asked = LeaseTimer.stamp(clock)
    const boundMs = Math.min(ANSWER_MS, Math.max(marginOf(leaseMs) / 3, Math.min(leaseMs / 3, this.#lease.leftMs())))
    try {
      if ((await waitAtMost(renew(), boundMs, clock, this.#released.signal)) === LATE)
        throw new S2Error('unavailable', `no answer within ${Math.round(boundMs)} ms`)
      this.#lease.renewed(asked)
      this.#pauses.succeeded()
    } catch (error) {
      if (this.#released.signal.aborted) return this.#status
      this.#pauseMs = this.#pauses.failed()
      onTrouble(error)
      if (error instanceof S2Error && LOST.includes(error.code)) this.#end('lost')
      else if (this.#lease.leftMs() <= 0) this.#end('unsure')
    }
    return this.#status
  }

  #end(status: LeaseStatus): void {
    this.#status = status
    this.#over.resolve(status)
  }
}
