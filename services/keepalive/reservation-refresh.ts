import type { SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import type { ReservationList } from '#spool/reservation-list.ts'
import type { Store } from '#store/store.ts'
import { unlessOver } from './error-class.ts'

/** The list of reservations that a host keeps for its hooks of git. */
export interface ReservationLists {
  /** Whether somebody on this host reserved files or asked who has them, or would if it might. */
  isWanted(): Promise<boolean>
  keep(list: ReservationList): Promise<void>
}

export interface ReservationRefreshParts extends Omit<RetryLoopParts, 'step'> {
  readonly clock: Clock
  readonly lists: ReservationLists
  /** The sessions of this host. */
  sessionsHere(): readonly SessionId[]
  /** The store that hears a session from this host; null while none does. */
  storeOf(session: SessionId): Pick<Store, 'reservations'> | null
}

const REFRESH_MS = 60_000
/** The same while no session of this host is heard. */
const SOON_MS = 5_000

/**
 * Keeps the list of who has which files fresh where somebody wants one, so that commits are checked by what was so a minute ago at most
 * when the bridge goes away.
 */
export class ReservationRefresh {
  readonly #parts: ReservationRefreshParts
  readonly #loop: RetryLoop

  constructor(parts: ReservationRefreshParts) {
    this.#parts = parts
    this.#loop = new RetryLoop({ ...parts, step: () => this.#look() })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  async #look(): Promise<number> {
    const { lists, clock } = this.#parts
    if (!(await lists.isWanted())) return REFRESH_MS
    const speakers = this.#speakers()
    if (speakers === null) return SOON_MS
    const asked = [...speakers].map(([store, session]) => store.reservations(session))
    const all = await unlessOver(Promise.all(asked))
    if (all !== null) await lists.keep({ at: clock.wall(), reservations: all.flat() })
    return REFRESH_MS
  }

  /** One session for each bridge of this host; null while one of them is away: a part would be taken for the whole. */
  #speakers(): Map<Pick<Store, 'reservations'>, SessionId> | null {
    const { sessionsHere, storeOf } = this.#parts
    const speakers = new Map<Pick<Store, 'reservations'>, SessionId>()
    for (const session of sessionsHere()) {
      const store = storeOf(session)
      if (store === null) return null
      speakers.set(store, session)
    }
    return speakers.size === 0 ? null : speakers
  }
}
