import { join } from 'node:path'
import { addUsage, NO_USAGE, type Usage, usageIn } from '#fleet/usage.ts'
import type { Clock } from '#runtime/clock.ts'
import { dayOf, nextDay } from '#runtime/wall-day.ts'
import { publish } from '#spool/atomic-files.ts'
import { readPlainFileSync } from '#spool/plain-file.ts'
import { field, textOf } from './said.ts'

const FILE_MAX = 10_000

/** What the clients of this host used today, kept in the state folder: a restart does not give a day's budget anew. */
export class DaySpending {
  readonly #path: string
  readonly #clock: Pick<Clock, 'wall'>
  readonly #zone: string
  #day = ''
  #usage: Usage = NO_USAGE

  /** `zone`: whose days count. What cannot be read is nothing. */
  constructor(state: string, clock: Pick<Clock, 'wall'>, zone: string) {
    this.#path = join(state, 'agents', 'spent.json')
    this.#clock = clock
    this.#zone = zone
    const known = readKnown(this.#path)
    this.#day = textOf(field(known, 'day')) ?? ''
    this.#usage = usageIn(field(known, 'usage')) ?? NO_USAGE
  }

  get today(): Usage {
    return this.#day === dayOf(this.#clock.wall(), this.#zone) ? this.#usage : NO_USAGE
  }

  /** When the next day begins, milliseconds since 1970. */
  get endsAt(): number {
    return nextDay(this.#clock.wall(), this.#zone)
  }

  /** Throws what the system says; it is remembered all the same. */
  async add(usage: Usage): Promise<void> {
    this.#usage = addUsage(this.today, usage)
    this.#day = dayOf(this.#clock.wall(), this.#zone)
    await publish(this.#path, `${JSON.stringify({ day: this.#day, usage: this.#usage })}\n`)
  }
}

function readKnown(path: string): unknown {
  try {
    return JSON.parse(readPlainFileSync(path, FILE_MAX) ?? '')
  } catch {
    return null
  }
}
