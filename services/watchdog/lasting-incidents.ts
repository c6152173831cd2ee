import type { Incident } from '#fleet/incident.ts'

/** After so long, people are told again that an incident is open. */
export const RETOLD_AFTER_MS: readonly number[] = [3_600_000, 8 * 3_600_000]

export interface Lasting {
  readonly cause: string
  /** How often people have been told again, this time included. */
  readonly times: number
}

/**
 * Which open incidents people are to be told of again. An incident lasts by the watchdog's own clock since it saw it open, or by
 * the wall clock, whichever is further: a watchdog may be new, and a wall clock may be put back. A claim (`restart`) is told
 * to nobody.
 */
export function planRetellings(
  open: readonly Incident[],
  seenAt: ReadonlyMap<number, number>,
  { now, wall }: { readonly now: number; readonly wall: number },
): readonly Lasting[] {
  return open.flatMap(({ id, cause, kind, openedAt, retold }) => {
    if (kind === 'restart') return []
    const lastedMs = Math.max(now - (seenAt.get(id) ?? now), wall - openedAt)
    const times = RETOLD_AFTER_MS.filter((afterMs) => afterMs <= lastedMs).length
    return times > retold ? [{ cause, times }] : []
  })
}
