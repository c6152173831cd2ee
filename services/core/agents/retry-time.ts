/** When a client says that it may be tried again, as it words that for people. Times are milliseconds since 1970. */

/** The value of a `retry-after`, RFC 9110 10.2.3: seconds, or a date as HTTP or ISO 8601 writes it. Null for anything else. */
export function retryAfter(value: string, now: number): number | null {
  if (/^\d{1,9}$/.test(value)) return now + Number(value) * 1000
  if (
    !/^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT|\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:?\d{2}))$/.test(
      value,
    )
  )
    return null
  const at = Date.parse(value)
  return Number.isNaN(at) ? null : at
}

/** Reads `resets 3pm (Europe/Paris)`, `resets Dec 3, 8:47pm`, `try again in 2h 13m`, `…|1760000400`. Null where nothing is said. */
export function retryTimeIn(text: string, now: number, zone: string): number | null {
  return stampIn(text) ?? durationIn(text, now) ?? dateIn(text, now, zone)
}

function stampIn(text: string): number | null {
  const seconds = /(?:\||"resets_?at":\s*)(\d{10})\b/i.exec(text)?.[1]
  return seconds === undefined ? null : Number(seconds) * 1000
}

const UNIT_MS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 }
const DURATION = /\b(?:again|resets?)\s+in\s+((?:\d{1,6}\s*(?:d|h|m|s)[a-z]*(?:,?\s+and\s+|,?\s*))+)/i

function durationIn(text: string, now: number): number | null {
  const words = DURATION.exec(text)?.[1]
  if (words === undefined) return null
  const parts = [...words.matchAll(/(\d+)\s*([dhms])/gi)]
  return parts.reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNIT_MS[unit.toLowerCase()] ?? 0), now)
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'] as const
const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const
const DATE = new RegExp(
  [
    String.raw`\b(?:resets?|again)\s+(?:at\s+|on\s+)?`,
    String.raw`(?:(?<weekday>${WEEKDAYS.join('|')})[a-z]*\b,?\s*)?(?<tomorrow>tomorrow\b,?\s*)?`,
    String.raw`(?:(?<month>${MONTHS.join('|')})[a-z]*\.?\s+(?<day>\d{1,2})(?:st|nd|rd|th)?\b,?\s*(?<year>\d{4}\b)?,?\s*)?`,
    String.raw`(?:at\s+)?(?:(?<hour>\d{1,2})(?:(?::(?<minute>\d{2}))?\s*(?<half>[ap])\.?m\b|:(?<minute24>\d{2})))?`,
    String.raw`(?:\s*\((?<zone>[A-Za-z_]+(?:\/[\w+-]+)*)\))?`,
  ].join(''),
  'i',
)

/** A time of the day that has just passed is meant: the other side's clock, or its patience, is a little behind. */
const JUST_PASSED_MS = 3_600_000
const DAY_MS = 86_400_000
/** A date without a year that is so long ago is one of the next year. */
const LONG_AGO_MS = 60 * DAY_MS

type Said = Readonly<Partial<Record<string, string>>>

function dateIn(text: string, now: number, machineZone: string): number | null {
  const said: Said = DATE.exec(text)?.groups ?? {}
  const hasDay = said.weekday !== undefined || said.tomorrow !== undefined || said.month !== undefined
  if (!hasDay && said.hour === undefined) return null
  const zone = isZone(said.zone) ? said.zone : machineZone
  const today = wallTime(now, zone)
  const at = { ...today, ...timeOfDay(said) }
  if (said.month !== undefined) return dateOfYear(said, at, now, zone)
  if (said.weekday !== undefined) return nextWeekday(said.weekday, at, now, zone)
  if (said.tomorrow !== undefined) return instantOf({ ...at, day: at.day + 1 }, zone)
  const then = instantOf(at, zone)
  return then < now - JUST_PASSED_MS ? instantOf({ ...at, day: at.day + 1 }, zone) : then
}

function timeOfDay({ hour = '0', minute, minute24, half }: Said): Pick<WallTime, 'hour' | 'minute'> {
  const is12 = half !== undefined
  const shift = half?.toLowerCase() === 'p' ? 12 : 0
  return { hour: is12 ? (Number(hour) % 12) + shift : Number(hour), minute: Number(minute ?? minute24 ?? 0) }
}

function dateOfYear({ month = '', day, year }: Said, at: WallTime, now: number, zone: string): number {
  const date = { ...at, month: wordIndex(MONTHS, month) + 1, day: Number(day) }
  if (year !== undefined) return instantOf({ ...date, year: Number(year) }, zone)
  const then = instantOf(date, zone)
  return then < now - LONG_AGO_MS ? instantOf({ ...date, year: at.year + 1 }, zone) : then
}

function nextWeekday(weekday: string, at: WallTime, now: number, zone: string): number {
  const days = (wordIndex(WEEKDAYS, weekday) - new Date(Date.UTC(at.year, at.month - 1, at.day)).getUTCDay() + 7) % 7
  const then = instantOf({ ...at, day: at.day + days }, zone)
  return then < now - JUST_PASSED_MS ? instantOf({ ...at, day: at.day + days + 7 }, zone) : then
}

function wordIndex(words: readonly string[], word: string): number {
  return words.indexOf(word.toLowerCase())
}

/** What a clock on a wall of a zone shows; `month` counts from 1. */
interface WallTime {
  readonly year: number
  readonly month: number
  readonly day: number
  readonly hour: number
  readonly minute: number
}

function wallTime(instant: number, zone: string): WallTime {
  const options = { timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric' } as const
  const format = new Intl.DateTimeFormat('en-US', { ...options, hour: 'numeric', minute: 'numeric' })
  const part = new Map(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]))
  const of = (type: Intl.DateTimeFormatPartTypes): number => part.get(type) ?? 0
  return { year: of('year'), month: of('month'), day: of('day'), hour: of('hour'), minute: of('minute') }
}

function instantOf(time: WallTime, zone: string): number {
  const asUtc = utcOf(time)
  // The zone's offset is that of the instant, which is known only by the offset; where they differ the second guess is right.
  const guess = asUtc - offsetAt(asUtc, zone)
  return asUtc - offsetAt(guess, zone)
}

function offsetAt(instant: number, zone: string): number {
  return utcOf(wallTime(instant, zone)) - Math.floor(instant / 60_000) * 60_000
}

function utcOf({ year, month, day, hour, minute }: WallTime): number {
  return Date.UTC(year, month - 1, day, hour, minute)
}

function isZone(name: string | undefined): name is string {
  if (name === undefined) return false
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}
