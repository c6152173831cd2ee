import { join } from 'node:path'
import type { Reservation } from '#fleet/reservation.ts'
import { publish } from './atomic-files.ts'
import { readPlainFile } from './plain-file.ts'

const FILE_MAX = 4_194_304

/** Who had which files, and when the fleet said so: milliseconds since 1970 by this host's clock. */
export interface ReservationList {
  readonly at: number
  readonly reservations: readonly Reservation[]
}

/** Keeps the list for the time when the bridge is away. An agent that may not write in the state folder keeps none. */
export async function keepReservationList(state: string, list: ReservationList): Promise<void> {
  await publish(pathOf(state), `${JSON.stringify(list)}\n`).catch(() => undefined)
}

/** The list that was kept last; null where there is none that can be read. */
export async function keptReservationList(state: string): Promise<ReservationList | null> {
  try {
    const text = (await readPlainFile(pathOf(state), FILE_MAX))?.text
    const list: unknown = text === undefined ? null : JSON.parse(text)
    return isList(list) ? list : null
  } catch {
    return null
  }
}

function pathOf(state: string): string {
  return join(state, 'reservations.json')
}

function isList(value: unknown): value is ReservationList {
  const { at, reservations } = (value ?? {}) as Partial<Record<keyof ReservationList, unknown>>
  return typeof at === 'number' && Array.isArray(reservations) && reservations.every(isReservation)
}

function isReservation(value: unknown): boolean {
  const { agent, repository, glob, mode, until } = (value ?? {}) as Partial<Record<keyof Reservation, unknown>>
  const isNamed = typeof agent === 'string' && typeof glob === 'string' && typeof mode === 'string'
  return isNamed && typeof until === 'number' && Array.isArray(repository)
}
