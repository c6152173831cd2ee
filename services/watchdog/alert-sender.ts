import { S2Error } from '#fleet/errors.ts'
import type { Alert, Incident, IncidentKind, NewIncident } from '#fleet/incident.ts'
import { backoff, Pauses } from '#runtime/backoff.ts'
import { type Chance, type Clock, elapsedMs, momentOf } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Store } from '#store/store.ts'
import { type AlertChannel, TELL_TIMEOUT_MS } from './alert-channels.ts'

export interface AlertSenderParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** The names of all channels of the watchdog. */
  readonly channels: readonly string[]
  /** Whether this channel tells incidents of a kind. */
  wants(kind: IncidentKind): boolean
  /** The channel took an alert. */
  onSuccess(channel: string): void
  onFailure(channel: string, error: unknown): void
}

/** How long a claim holds: no other watchdog tells these alerts meanwhile. */
const CLAIM_MS = 60_000
/** How often alerts are asked for without a nudge: those of another watchdog, and those whose claim ran out. */
const ASK_EVERY_MS = 5_000
/** Alerts that follow another so soon are claimed together: each claim waits for the disk, and holds up verdicts. */
const GATHER_MS = 250
/** A channel that did not take an alert gets it again with these pauses, for as long as it takes. */
const RETRY = { firstMs: 1_000, mostMs: 300_000 }

/**
 * Sends the alerts of one channel, one after the other, in a loop of its own: a channel that hangs delays neither a look nor
 * another channel. An alert that could not be sent stays in the store and comes again.
 */
export class AlertSender {
  readonly #channel: AlertChannel
  readonly #parts: AlertSenderParts
  readonly #loop: Loop
  /** Between tries to reach the store. */
  readonly #pauses: Pauses
  /** Sent, but not settled as the store was away: never sent again by this watchdog. */
  readonly #sent = new Set<string>()
  /** What the store cannot keep, as it is the store that is away. */
  #unstored: Alert[] = []
  #claimedAt = Number.NEGATIVE_INFINITY

  constructor(channel: AlertChannel, parts: AlertSenderParts) {
    this.#channel = channel
    this.#parts = parts
    this.#pauses = new Pauses({ ...RETRY, mostMs: CLAIM_MS / 2, leastMs: RETRY.firstMs }, parts.chance)
    this.#loop = new Loop({
      clock: parts.clock,
      signal: parts.signal,
      step: () => this.#step(),
      onError: (error) => this.#onError(error),
    })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  /** There may be an alert to send. */
  nudge(): void {
    this.#loop.nudge()
  }

  /** Sends an alert of an incident that no store keeps; it is lost when this process ends first. */
  sendUnstored(incident: NewIncident, event: Alert['event'], outcome: string | null = null): void {
    const at = this.#parts.clock.wall()
    const closedAt = event === 'closed' ? at : null
    const kept: Incident = { ...incident, id: 0, openedAt: at, closedAt, outcome, retold: 0 }
    this.#unstored.push({ incident: kept, event, channel: this.#channel.name, attempts: 0 })
    this.nudge()
  }

  async #step(): Promise<number> {
    await this.#sendUnstored()
    const { store, clock } = this.#parts
    const restMs = this.#claimedAt + GATHER_MS - clock.now()
    if (restMs > 0) return restMs
    const claimed = momentOf(clock)
    this.#claimedAt = claimed.now
    const settling = new Settling()
    const alerts = await store.claimAlerts([this.#channel.name], CLAIM_MS, this.#parts.channels)
    for (const alert of alerts) {
      if (this.#parts.signal.aborted) break
      const outcome = this.#sent.has(keyOf(alert)) ? 'told' : await this.#sendClaimed(alert, elapsedMs(claimed, clock))
      if (outcome !== null) settling.add(this.#settle(alert, outcome))
    }
    await settling.end()
    this.#pauses.succeeded()
    return alerts.length > 0 ? 0 : ASK_EVERY_MS
  }

  async #sendUnstored(): Promise<void> {
    for (let alert = this.#unstored[0]; alert !== undefined; alert = this.#unstored[0]) {
      const outcome = await this.#send(alert)
      if (outcome !== 'told') throw new Error('the channel takes nothing now')
      this.#unstored.shift()
    }
  }

  /**
   * A claim that would run out while the alert is told could have two watchdogs tell it. One that has run out, as after a
   * suspend, is not given back either: the alert may be another's by now.
   */
  async #sendClaimed(alert: Alert, heldMs: number): Promise<'told' | { retryMs: number } | null> {
    if (heldMs >= CLAIM_MS) return null
    return heldMs + 2 * TELL_TIMEOUT_MS > CLAIM_MS ? { retryMs: 0 } : await this.#send(alert)
  }

  /** Null when the program ends meanwhile: the claim runs out and the alert is told by whoever watches then. */
  async #send(alert: Alert): Promise<'told' | { retryMs: number } | null> {
    const { signal, chance, log, wants, onSuccess, onFailure } = this.#parts
    if (!wants(alert.incident.kind)) return 'told'
    try {
      await this.#channel.tell(alert, signal)
      onSuccess(this.#channel.name)
      return 'told'
    } catch (error) {
      if (signal.aborted) return null
      const retryMs = backoff(alert.attempts, RETRY, chance)
      onFailure(this.#channel.name, error)
      log.warn('alert not sent, retrying', {
        channel: this.#channel.name,
        incident: alert.incident.id,
        attempts: alert.attempts + 1,
        retryMs: Math.round(retryMs),
        error,
      })
      return { retryMs }
    }
  }

  async #settle(alert: Alert, outcome: 'told' | { retryMs: number }): Promise<void> {
    if (outcome === 'told') this.#sent.add(keyOf(alert))
    await this.#parts.store.settleAlert(alert, outcome)
    this.#sent.delete(keyOf(alert))
  }

  /** A store that keeps nothing now holds up nothing that it does not keep. */
  #onError(error: unknown): number {
    if (error instanceof S2Error && this.#unstored.length > 0) return 0
    this.#parts.log.debug('alerts cannot be claimed, retrying', { channel: this.#channel.name, error })
    return this.#pauses.failed()
  }
}

/** Writes that go on while the next alert is told, so that the store can make one of them. */
class Settling {
  readonly #writes: Promise<void>[] = []
  readonly #failures: unknown[] = []

  add(write: Promise<void>): void {
    this.#writes.push(write.catch((error: unknown) => void this.#failures.push(error)))
  }

  /** Throws what the first of them threw. */
  async end(): Promise<void> {
    await Promise.all(this.#writes)
    if (this.#failures.length > 0) throw this.#failures[0]
  }
}

function keyOf({ incident: { id, retold }, event }: Alert): string {
  return event === 'lasting' ? `${id}:${event}:${retold}` : `${id}:${event}`
}
