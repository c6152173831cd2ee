import { CronTime } from 'cron'

/** A line that is not due within this time never is: the 29th of February on a given weekday may take 28 years. */
const YEARS_MAX = 8

/**
 * When something is due, by local time, in a cron line of five fields, or of six with seconds in front: crontab(5). The
 * package `cron` parses the line; the next time is computed here, because the package would load 9 MB of calendars for it.
 */
export class CronSchedule {
  readonly #fields: Readonly<Record<Field, ReadonlySet<number>>>
  /** Where the line names days of the month and of the week, either will do. */
  readonly #namesBoth: boolean

  /** Throws an `Error` that says what is wrong with the line. */
  constructor(line: string) {
    // an offset keeps it from asking for the zone; its toJSON() would take eleven months of twelve for all
    const parsed = Object.entries(new CronTime(line, null, 0))
    const numbers = (name: Field): ReadonlySet<number> => {
      return new Set(Object.keys(parsed.find(([each]) => each === name)?.[1] ?? {}).map(Number))
    }
    this.#fields = {
      month: numbers('month'),
      dayOfMonth: numbers('dayOfMonth'),
      dayOfWeek: numbers('dayOfWeek'),
      hour: numbers('hour'),
      minute: numbers('minute'),
      second: numbers('second'),
    }
    this.#namesBoth = this.#fields.dayOfMonth.size < 31 && this.#fields.dayOfWeek.size < 7
    if (this.next(Date.UTC(2024, 0)) === Number.POSITIVE_INFINITY) throw new Error('is never due')
  }

  /**
   * The first moment after `wall` that is due; both are milliseconds since 1970. What falls into an hour that the clock leaves
   * out is due an hour later. Of an hour that comes twice the first counts, unless every hour is meant.
   */
  next(wall: number): number {
    return Math.min(this.#search(wall, ZONE), this.#leftOut(wall))
  }

  /** The first time after `wall` that the line names and the clock leaves out, as the moment when it is due; Infinity for none. */
  #leftOut(wall: number): number {
    const local = this.#search(ZONE.localOf(wall), NO_ZONE)
    if (local === Number.POSITIVE_INFINITY) return local
    const at = ZONE.at(local)
    return ZONE.localOf(at) === local ? Number.POSITIVE_INFINITY : at
  }

  #search(from: number, zone: Zone): number {
    const { month, hour, minute, second } = this.#fields
    let at = from + SECOND_MS
    at -= remainder(at, SECOND_MS)
    const yearMax = new Date(zone.localOf(at)).getUTCFullYear() + YEARS_MAX
    for (;;) {
      const local = new Date(zone.localOf(at))
      const [y, m, d] = [local.getUTCFullYear(), local.getUTCMonth(), local.getUTCDate()]
      if (y > yearMax) return Number.POSITIVE_INFINITY
      if (!month.has(m + 1)) at = zone.at(Date.UTC(y, m + 1))
      else if (!this.#hasDay(local)) at = zone.at(Date.UTC(y, m, d + 1))
      else if (!hour.has(local.getUTCHours()) || this.#isRepeated(at, zone)) at = nextUnit(at, HOUR_MS, zone)
      else if (!minute.has(local.getUTCMinutes())) at = nextUnit(at, MINUTE_MS, zone)
      else if (!second.has(local.getUTCSeconds())) at = nextUnit(at, SECOND_MS, zone)
      else return at
    }
  }

  #hasDay(local: Date): boolean {
    const byMonth = this.#fields.dayOfMonth.has(local.getUTCDate())
    const byWeek = this.#fields.dayOfWeek.has(local.getUTCDay())
    return this.#namesBoth ? byMonth || byWeek : byMonth && byWeek
  }

  /** Whether the clock has shown this time before, and the line names some hours and not all. */
  #isRepeated(at: number, zone: Zone): boolean {
    return this.#fields.hour.size < 24 && zone.at(zone.localOf(at)) < at
  }
}

/** Tells what a schedule has brought since the last look: the wall clock may be set, also back, and a machine may sleep. */
export class ScheduleWatch {
  readonly #schedule: CronSchedule
  #lookedAt: number

  /** `wall`: now, milliseconds since 1970. */
  constructor(schedule: CronSchedule, wall: number) {
    this.#schedule = schedule
    this.#lookedAt = wall
  }

  /** Whether something fell due since the last look. A moment that was computed once could lie years ahead of a clock that was put right. */
  isDue(wall: number): boolean {
    const isDue = this.#schedule.next(this.#lookedAt) <= wall
    this.#lookedAt = wall
    return isDue
  }
}

type Field = 'month' | 'dayOfMonth' | 'dayOfWeek' | 'hour' | 'minute' | 'second'

/** What clocks on the wall show. A local time is kept as the moment at which a clock of UTC shows the same. */
interface Zone {
  localOf(at: number): number
  /** When that is shown: the first time, or, where it never is, when it would be had the clock not been put forward. */
  at(local: number): number
}

/** The zone of this machine. */
const ZONE: Zone = {
  localOf: (at) => at - new Date(at).getTimezoneOffset() * MINUTE_MS,
  at: (local) => {
    const of = new Date(local)
    const [y, m, d] = [of.getUTCFullYear(), of.getUTCMonth(), of.getUTCDate()]
    return new Date(y, m, d, of.getUTCHours(), of.getUTCMinutes(), of.getUTCSeconds()).getTime()
  },
}

/** A clock that is never put forward or back. */
const NO_ZONE: Zone = { localOf: (at) => at, at: (local) => local }

const SECOND_MS = 1_000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

/** The start of the next hour, minute or second, by real time: the clock may leave some out or repeat them. */
function nextUnit(at: number, unitMs: number, zone: Zone): number {
  return at + unitMs - remainder(zone.localOf(at), unitMs)
}

function remainder(value: number, unit: number): number {
  return ((value % unit) + unit) % unit
}
