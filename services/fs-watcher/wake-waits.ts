import type { ClientSession } from '#agents/client-session.ts'
import { WAKES_AN_HOUR, type WakeWait } from '#fleet/wake-ladder.ts'
import type { Log } from '#runtime/log.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { WakeTarget } from './mail-source.ts'

export interface WakeWaitsParts {
  readonly log: Pick<Log, 'info'>
  readonly health: { warning(topic: string, why: string | null): void }
}

/** What a person can see to, and what that is called; null where it passes by itself soon: the end of a turn, a proof. */
const REASONS: Readonly<Record<WakeWait, string | null>> = {
  proof: null,
  turn: null,
  person: 'its client waits for a person',
  limit: 'its client has reached a limit of use',
  budget: `it was sent ${WAKES_AN_HOUR} wakes within an hour`,
  passing: 'what its ways are refused for may pass',
}

/** What wakes wait for: told once in the log, and in the health of this program for as long as it lasts. */
export class WakeWaits {
  readonly #parts: WakeWaitsParts
  readonly #known = new KnownTroubles()

  constructor(parts: WakeWaitsParts) {
    this.#parts = parts
  }

  /** `session`: the client that is waited for; null where none is known. */
  note(target: WakeTarget, wait: WakeWait, session: ClientSession | null): void {
    const { state = null, what = null } = session?.activity ?? {}
    if (!this.#known.isNew(target, `${wait} ${state} ${what}`)) return
    const { log, health } = this.#parts
    log.info('wake waits for the client', { target, for: wait, state, what })
    const reason = REASONS[wait]
    const detail = (wait === 'person' || wait === 'limit') && what !== null ? `: ${what}` : ''
    health.warning(topicOf(target), reason === null ? null : `${target} is not woken, as ${reason}${detail}`)
  }

  /** It waits no longer: something is sent, or there is nothing to wake for. */
  over(target: WakeTarget): void {
    if (!this.#known.isOver(target)) return
    this.#parts.health.warning(topicOf(target), null)
    this.#parts.log.info('wake waits no longer', { target })
  }
}

function topicOf(target: WakeTarget): string {
  return `wake of ${target}`
}
