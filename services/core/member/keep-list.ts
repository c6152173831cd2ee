import type { Reservation } from '#fleet/reservation.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { keepReservationList } from '#spool/reservation-list.ts'
import type { Store } from '#store/store.ts'

/** The host that a list is kept on. */
export interface KeepingHost {
  readonly state: string
  readonly clock: Pick<Clock, 'wall'>
}

/** Asks who has which files, and keeps it for the hooks of git, which may run while the bridge is away. Throws what the store says. */
export async function keepList(
  store: Pick<Store, 'reservations'>,
  { state, clock }: KeepingHost,
): Promise<Reservation[]> {
  const reservations = await store.reservations()
  await keepReservationList(state, { at: clock.wall(), reservations })
  return reservations
}

/** So long an act that is done waits for the list. */
const LIST_WITHIN_MS = 3_000

/**
 * The same after files were reserved or released. What was done is done: where the list cannot be had soon, that of before stays, and
 * this answers why; null where it was kept.
 */
export async function keepListAfterAct(
  store: Pick<Store, 'reservations'>,
  host: KeepingHost & { readonly clock: Clock },
): Promise<string | null> {
  try {
    const kept = await waitAtMost(keepList(store, host), LIST_WITHIN_MS, host.clock)
    return kept === LATE ? 'the fleet does not answer' : null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
