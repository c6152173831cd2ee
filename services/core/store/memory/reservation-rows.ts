import type { KeptReservation } from '#fleet/reservation.ts'
import type { ReservationRows } from '../reservation-registry.ts'

/** The reservations of files, in memory. */
export class MemoryReservationRows implements ReservationRows {
  readonly #all = new Map<string, KeptReservation>()

  all(): KeptReservation[] {
    return [...this.#all.values()].sort((one, other) => one.since - other.since)
  }

  put(reservation: KeptReservation): void {
    this.#all.set(keyOf(reservation), Object.freeze({ ...reservation }))
  }

  remove(reservation: KeptReservation): void {
    this.#all.delete(keyOf(reservation))
  }
}

function keyOf({ holder, repository, glob }: KeptReservation): string {
  return JSON.stringify([holder, repository, glob])
}
