/** Instants, in milliseconds since 1970, as they are shown to people. */

const MINUTE_MS = 60_000

/** The whole minute that does not lie before this instant: an end that is cut down to its minute would be told as passed. */
export function wholeMinute(instant: number): number {
  return Math.ceil(instant / MINUTE_MS) * MINUTE_MS
}

/** The same as ISO 8601, `2026-11-30T08:00Z`. */
export function wholeMinuteText(instant: number): string {
  return `${new Date(wholeMinute(instant)).toISOString().slice(0, 16)}Z`
}
