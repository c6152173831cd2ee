import type { Reservation } from '#fleet/reservation.ts'
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
