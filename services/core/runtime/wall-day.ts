/** Days by the clock on a wall of a time zone. Instants are milliseconds since 1970. */

/** The zone that programs of this machine print their times in. */
export function systemZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** The day of an instant, as ISO 8601 writes it: `2026-11-30`. */
export function dayOf(instant: number, zone: string): string {
  const options = { timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit' } as const
  return new Intl.DateTimeFormat('en-CA', options).format(instant)
}

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000

/** The instant at which the next day begins. No day is longer than 25 hours. */
export function nextDay(instant: number, zone: string): number {
  const today = dayOf(instant, zone)
  let [from, to] = [instant, instant + 25 * HOUR_MS]
  while (to - from > MINUTE_MS) {
    const middle = (from + to) / 2
    if (dayOf(middle, zone) === today) from = middle
    else to = middle
  }
  return Math.floor(to / MINUTE_MS) * MINUTE_MS
}
