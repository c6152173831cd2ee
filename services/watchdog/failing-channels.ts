import { WHY_MAX } from '#fleet/cut-text.ts'
import { alertsFailing, failingChannel, type NewIncident } from '#fleet/incident.ts'
import { redactedHead } from '#fleet/redact.ts'
import { type Clock, type Moment, momentOf } from '#runtime/clock.ts'
import { formatDuration } from '#runtime/duration.ts'
import type { OpenIncidents } from './open-incidents.ts'

/** A channel is reported that did not take so many alerts in a row, or that has taken none for so long since one failed. */
const TRIES = 3
const FAILING_MS = 60_000

export interface FailingChannelsParts {
  /** The channels that there are. */
  readonly names: readonly string[]
  readonly incidents: OpenIncidents
  readonly clock: Pick<Clock, 'now' | 'wall'>
  /** An incident was opened or closed that people are to be told of. */
  onIncident(): void
  /** Why alerts do not get through by some channel; null when they do by all. */
  onTrouble(why: string | null): void
}

interface Failure {
  readonly since: number
  lastAt: Moment
  tries: number
  why: string
  /** Its incident was opened. */
  isReported: boolean
}

/**
 * Which alert channels take nothing. Each is one incident, which the other channels tell, and a trouble of the watchdog's health;
 * both end when the channel takes an alert again. Errors of channels do not show where they send to.
 */
export class FailingChannels {
  readonly #parts: FailingChannelsParts
  readonly #failures = new Map<string, Failure>()
  /** Channels that took an alert since their incidents were last looked at, and whether they had failed before. */
  readonly #took = new Map<string, boolean>()
  #isBegun = false

  constructor(parts: FailingChannelsParts) {
    this.#parts = parts
  }

  /** A channel did not take an alert. */
  noteFailure(channel: string, error: unknown): void {
    const { clock } = this.#parts
    const lastAt = momentOf(clock)
    const failure = this.#failures.get(channel) ?? { since: lastAt.now, lastAt, tries: 0, why: '', isReported: false }
    failure.lastAt = lastAt
    failure.tries += 1
    failure.why = redactedHead(error instanceof Error ? error.message : String(error), WHY_MAX)
    this.#failures.set(channel, failure)
    this.#took.delete(channel)
  }

  /** A channel took an alert; answers whether that may end an incident. */
  noteSuccess(channel: string): boolean {
    const hadFailed = this.#failures.delete(channel) || this.#took.get(channel) === true
    if (!hadFailed && !this.#parts.incidents.isOpen(alertsFailing(channel, '').cause)) return false
    this.#took.set(channel, hadFailed)
    return true
  }

  /** Opens and closes incidents as the channels are now; answers how long to wait, milliseconds. */
  async step(): Promise<number> {
    this.#parts.onTrouble(this.#trouble())
    if (!this.#isBegun) await this.#closeForgotten()
    for (const [channel, failure] of [...this.#failures]) await this.#report(channel, failure)
    for (const [channel, hadFailed] of [...this.#took]) await this.#end(channel, hadFailed)
    this.#parts.onTrouble(this.#trouble())
    return this.#untilNext()
  }

  #trouble(): string | null {
    const dead = [...this.#failures].filter(([, failure]) => this.#isDead(failure))
    return dead.length === 0 ? null : dead.map(([channel, { why }]) => `${channel} takes no alerts: ${why}`).join('; ')
  }

  /** Closes incidents of channels that an earlier run of the watchdog had and this one has not. */
  async #closeForgotten(): Promise<void> {
    const { incidents, names } = this.#parts
    for (const { cause } of await incidents.read()) {
      const channel = failingChannel({ cause })
      if (channel !== null && !names.includes(channel))
        await this.#close(cause, `${channel} is no alert channel any more`)
    }
    this.#isBegun = true
  }

  async #report(channel: string, failure: Failure): Promise<void> {
    if (!this.#isDead(failure)) return
    const { incidents, clock } = this.#parts
    const incident = this.#incidentOf(channel, failure, clock.now())
    if (!failure.isReported) {
      if (await incidents.open({ ...incident, evidenceAt: failure.lastAt })) this.#parts.onIncident()
      failure.isReported = true
    } else if (!incidents.isOpen(incident.cause)) {
      // another watchdog had a success, or a person closed it: what fails from now on is a trouble of its own
      await incidents.read()
      if (!incidents.isOpen(incident.cause)) this.#failures.delete(channel)
    }
  }

  async #end(channel: string, hadFailed: boolean): Promise<void> {
    const { incidents } = this.#parts
    const { cause } = alertsFailing(channel, '')
    if (hadFailed) await incidents.read()
    if (incidents.isOpen(cause)) await this.#close(cause, `${channel} takes alerts again`)
    if (this.#took.get(channel) === hadFailed) this.#took.delete(channel)
  }

  async #close(cause: string, outcome: string): Promise<void> {
    const { incidents, clock, onIncident } = this.#parts
    if (await incidents.close({ cause, outcome, evidenceAt: momentOf(clock) })) onIncident()
  }

  #incidentOf(channel: string, { tries, since, why }: Failure, now: number): NewIncident {
    const tried = tries === 1 ? 'one try' : `${tries} tries`
    const seconds = Math.max(1, Math.round((now - since) / 1000))
    return alertsFailing(channel, `${tried} within ${formatDuration(seconds * 1000)}, the last one: ${why}`)
  }

  #isDead({ tries, since }: Failure): boolean {
    return tries >= TRIES || this.#parts.clock.now() - since >= FAILING_MS
  }

  #untilNext(): number {
    const now = this.#parts.clock.now()
    const ends = [...this.#failures.values()].map(({ since }) => since + FAILING_MS).filter((at) => at > now)
    return Math.min(FAILING_MS, ...ends.map((at) => at - now))
  }
}
