import type { CommandContext } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import type { ReachedFleet } from '#console/store-access.ts'
import type { Reservation } from '#fleet/reservation.ts'
import { keepReservationList } from '#spool/reservation-list.ts'

/** Asks who has which files, and keeps it for the hooks of git, which may run while the bridge is away. */
export async function keepList(context: CommandContext, { store }: ReachedFleet): Promise<Reservation[]> {
  const reservations = await store.reservations()
  await keepReservationList(stateFolder(context), { at: context.clock.wall(), reservations })
  return reservations
}
