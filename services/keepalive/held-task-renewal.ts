import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { RetryLoop } from '#runtime/retry-loop.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import { type HeldTask, isHolderAlive } from '#spool/held-tasks.ts'
import type { OutboxOutcome } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { folderLoop } from './folder-loop.ts'

/** The tasks that agents of this host took by hand. `HeldTasks` is one. */
export interface HeldTasksPort {
  list(): Promise<readonly HeldTask[]>
  put(held: HeldTask): Promise<void>
  remove(held: HeldTask): Promise<void>
}

/** What is renewed, and how often. */
export interface HeldByHand {
  readonly files: HeldTasksPort
  readonly leaseMs: number
  /** The signs of work that the client of a task has shown so far. */
  signsOf(held: HeldTask): Promise<number>
  /** What became of the item of the outbox by which a task was ended. */
  outcomeOf(ended: string): Promise<OutboxOutcome>
  /** Whether its client has left it, though the process that held both lives on. */
  hasLeft(held: HeldTask): Promise<boolean>
  /** Watches for changes until disposed. Left out: only the polls find them. */
  hear?(heard: () => void): Disposable
}

export interface HeldTaskRenewalParts extends HeldByHand {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly troubles: TroubleLog
  readonly signal: AbortSignal
  /** Where this host is; undefined where nobody knows. */
  readonly place: string | undefined
  /** The store of a session that this host speaks for; null: it does not now. */
  storeOf(session: SessionId): Pick<Store, 'report'> | null
}

/** Codes of a store for a task that this holder has lost for good. */
const LOST = /^(stale_epoch|conflict|not_found)$/
/** Parts of a lease: between two looks, before a renewal is due, and before one that failed is tried again. */
const LOOK = 1 / 6
const DUE = 1 / 4
const RETRY = 1 / 24

/**
 * Renews the leases of tasks that agents took by hand, while their clients live. When a client is dead its renewals end, and
 * the watchdog gives the task to another: at once where hooks told of the client, else when the lease lapses. A client session that is
 * resumed before that finds it still its own.
 */
export class HeldTaskRenewal {
  readonly #parts: HeldTaskRenewalParts
  readonly #loop: RetryLoop
  /** When each was renewed last, by the clock that never jumps. */
  #renewedAt = new Map<string, number>()

  constructor(parts: HeldTaskRenewalParts) {
    const { clock, chance, signal, troubles } = parts
    this.#parts = parts
    this.#loop = folderLoop({
      clock,
      chance,
      signal,
      look: () => this.#look(),
      onTrouble: (error) => troubles.threw('held tasks', error),
      onWell: () => troubles.over('held tasks'),
    })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  /** A task was taken, reported on or let go. */
  nudge(): void {
    this.#loop.nudge()
  }

  async #look(): Promise<number> {
    const { files, leaseMs } = this.#parts
    const renewedAt = new Map<string, number>()
    let failed = false
    for (const held of await files.list()) {
      const key = `${held.session} ${held.task} ${held.epoch}`
      const known = this.#renewedAt.get(key) ?? Number.NEGATIVE_INFINITY
      const outcome = await this.#tend(held, known)
      if (outcome === 'failed') failed = true
      if (outcome !== 'gone') renewedAt.set(key, outcome === 'renewed' ? this.#parts.clock.now() : known)
    }
    this.#renewedAt = renewedAt
    return leaseMs * (failed ? RETRY : LOOK)
  }

  async #tend(held: HeldTask, renewedAt: number): Promise<'renewed' | 'fresh' | 'failed' | 'gone'> {
    const { files, clock, leaseMs, log, place, hasLeft } = this.#parts
    if (held.ended !== null) return await this.#tendEnded(held, held.ended, renewedAt)
    if (!isHolderAlive(held, place) || (await hasLeft(held))) {
      await files.remove(held)
      if (held.lost === null) log.info('held task let lapse', { task: held.task, epoch: held.epoch, client: held.by })
      return 'gone'
    }
    if (held.lost !== null || clock.now() - renewedAt < leaseMs * DUE) return 'fresh'
    return await this.#renew(held)
  }

  /**
   * A task that its holder has ended stays its own until the bridge knows that, whether or not the holder lives: another would do it once
   * more. One whose end was refused is held as before.
   */
  async #tendEnded(held: HeldTask, ended: string, renewedAt: number): Promise<'renewed' | 'fresh' | 'failed' | 'gone'> {
    const { files, clock, leaseMs, log, outcomeOf } = this.#parts
    const outcome = await outcomeOf(ended)
    if (outcome === 'carried' || outcome === 'unknown' || held.lost !== null) {
      await files.remove(held)
      return 'gone'
    }
    if (outcome === 'waiting') return clock.now() - renewedAt < leaseMs * DUE ? 'fresh' : await this.#renew(held)
    log.warn('end of a held task refused', { task: held.task, epoch: held.epoch, why: outcome.message })
    await files.put({ ...held, ended: null })
    return 'failed'
  }

  async #renew(held: HeldTask): Promise<'renewed' | 'fresh' | 'failed'> {
    const { files, log, storeOf, signsOf } = this.#parts
    const { session, task, epoch } = held
    const work = held.work + (await signsOf(held))
    try {
      const store = storeOf(session)
      if (store === null) return 'failed'
      await store.report(session, { task, epoch, state: 'in_progress', progress: null, result: null, work })
      return 'renewed'
    } catch (error) {
      if (!(error instanceof S2Error) || !LOST.test(error.code)) {
        log.debug('held task not renewed', { task, epoch, why: (error as Error).message })
        return 'failed'
      }
      if (held.ended !== null) return 'fresh' // the bridge has, or refuses, the report that ended it
      log.info('held task lost', { task, epoch, why: error.message })
      await files.put({ ...held, lost: error.message })
      return 'fresh'
    }
  }
}
