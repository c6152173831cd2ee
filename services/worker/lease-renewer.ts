import { type Code, S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { type LeaseStamp, LeaseTimer, marginOf } from './lease-timer.ts'

/**
 * How it stands with a lease: `held`; `lost`, the store says so; `unsure`, it ran out while nobody could be asked.
 */
export type LeaseStatus = 'held' | 'lost' | 'unsure'

export interface LeaseRenewerParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly leaseMs: number
  /** Taken before the task was leased. */
  readonly asked: LeaseStamp
  /** Asks the store for the renewal, and tells the latest progress with it. */
  renew(): Promise<void>
  /** A renewal that failed, for the log. */
  onTrouble(error: unknown): void
}

/** Codes by which a store says that the task is not ours any more, whatever we do. */
const LOST: readonly Code[] = ['stale_epoch', 'conflict', 'not_found']

/** How long one answer may take, however long the lease is. */
const ANSWER_MS = 10_000

/** Renews one lease until it is let go, lost, or run out. */
export class LeaseRenewer implements AsyncDisposable {
  readonly #parts: LeaseRenewerParts
  readonly #lease: LeaseTimer
  readonly #letGo = new AbortController()
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

  /** Settles when the lease is lost or unsure; stays open for ever when it is let go first. */
  get over(): Promise<LeaseStatus> {
    return this.#over.promise
  }

  /** Asks for a renewal soon: there is progress to tell, or a reason to doubt. */
  nudge(): void {
    this.#wanted = true
    this.#pause.abort()
  }

  /**
   * How it stands now. After a pause of this process or machine nothing that was true before it counts, so the store is
   * asked before anything else happens.
   */
  async status(): Promise<LeaseStatus> {
    if (this.#status !== 'held' || this.#lease.leftMs() > 0) return this.#status
    return await this.#ask()
  }

  /** Lets go: no renewal is asked for any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#letGo.abort()
    this.#pause.abort()
    await this.#done
  }

  async #keep(): Promise<void> {
    const { clock } = this.#parts
    while (!this.#letGo.signal.aborted && this.#status === 'held') {
      if (!this.#wanted) {
        this.#pause = new AbortController()
        await clock.sleep(this.#waitMs(), this.#pause.signal).catch(() => undefined)
      }
      if (this.#letGo.signal.aborted) return
      this.#wanted = false
      await this.#ask()
    }
  }

  #waitMs(): number {
    if (this.#pauses.failures === 0) return this.#lease.renewInMs()
    return Math.max(0, Math.min(this.#pauseMs, this.#lease.leftMs()))
  }

  /** One question at a time: whoever asks meanwhile gets the same answer. */
  #ask(): Promise<LeaseStatus> {
    this.#asking ??= this.#askOnce().finally(() => {
      this.#asking = null
    })
    return this.#asking
  }

  async #askOnce(): Promise<LeaseStatus> {
    const { clock, leaseMs, renew, onTrouble } = this.#parts
    const asked = LeaseTimer.stamp(clock)
    const boundMs = Math.max(marginOf(leaseMs) / 3, Math.min(leaseMs / 3, ANSWER_MS, this.#lease.leftMs()))
    try {
      if ((await waitAtMost(renew(), boundMs, clock, this.#letGo.signal)) === LATE)
        throw new S2Error('unavailable', `no answer within ${Math.round(boundMs)} ms`)
      this.#lease.renewed(asked)
      this.#pauses.succeeded()
    } catch (error) {
      if (this.#letGo.signal.aborted) return this.#status
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
