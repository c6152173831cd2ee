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

  /** The first moment after `wall` that is due; both are milliseconds since 1970. An hour that the clock leaves out is left out. */
  next(wall: number): number {
    const { month, hour, minute, second } = this.#fields
    const at = new Date(wall)
    at.setMilliseconds(1_000)
    const lastYear = at.getFullYear() + YEARS_MAX
    while (at.getFullYear() <= lastYear) {
      if (!month.has(at.getMonth() + 1)) startOf(at, 'month')
      else if (!this.#hasDay(at)) startOf(at, 'day')
      else if (!hour.has(at.getHours())) pass(at, HOUR_MS)
      else if (!minute.has(at.getMinutes())) pass(at, MINUTE_MS)
      else if (!second.has(at.getSeconds())) pass(at, SECOND_MS)
      else return at.getTime()
    }
    return Number.POSITIVE_INFINITY
  }

  #hasDay(at: Date): boolean {
    const byMonth = this.#fields.dayOfMonth.has(at.getDate())
    const byWeek = this.#fields.dayOfWeek.has(at.getDay())
    return this.#namesBoth ? byMonth || byWeek : byMonth && byWeek
  }
}

type Field = 'month' | 'dayOfMonth' | 'dayOfWeek' | 'hour' | 'minute' | 'second'

const SECOND_MS = 1_000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

/** Goes to the start of the next month or day, by the calendar. */
function startOf(at: Date, next: 'month' | 'day'): void {
  if (next === 'month') at.setMonth(at.getMonth() + 1, 1)
  else at.setDate(at.getDate() + 1)
  at.setHours(0, 0, 0, 0)
}

/** Goes to the start of the next hour, minute or second, by real time: the clock may leave some out or repeat them. */
function pass(at: Date, unitMs: number): void {
  const local = at.getTime() - at.getTimezoneOffset() * MINUTE_MS
  at.setTime(at.getTime() + unitMs - (((local % unitMs) + unitMs) % unitMs))
}
