import { dirname, join } from 'node:path'
import type { Reservation } from '#fleet/reservation.ts'
import { isShared, publish } from './atomic-files.ts'
import { readPlainFile } from './plain-file.ts'

const FILE_MAX = 4_194_304

/** Who had which files, and when the fleet said so: milliseconds since 1970 by this host's clock. */
export interface ReservationList {
  readonly at: number
  readonly reservations: readonly Reservation[]
}

/** Keeps the list for the time when the bridge is away. An agent that may not write there keeps none: keepalive does. */
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

/** Whether somebody on this host wants the list fresh: it is there, or the agent has a user of its own, and could not ask for it. */
export async function isReservationListWanted(state: string): Promise<boolean> {
  return isShared(dirname(pathOf(state))) || (await keptReservationList(state)) !== null
}

/** Where an agent with a user or a container of its own may read. */
function pathOf(state: string): string {
  return join(state, 'agents', 'reservations.json')
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
