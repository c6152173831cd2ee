import { dirname, join } from 'node:path'
import { addUsage, NO_USAGE, type Usage, usageIn } from '#fleet/usage.ts'
import type { Clock } from '#runtime/clock.ts'
import { dayOf, nextDay } from '#runtime/wall-day.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { appendLine, formerOf } from '#spool/line-log.ts'
import { readPlainFileSync } from '#spool/plain-file.ts'
import { field } from './said.ts'

/** Bytes of the file, some 8,000 turns; it is kept twice, as it is and as it was before it was full. */
const FILE_MAX = 1_048_576

/**
 * What the clients of this host used today, kept in the state folder: a restart does not give a day's budget anew. Each turn is a line,
 * so that agents beside one another count what all of them use.
 */
export class DaySpending {
  readonly #path: string
  readonly #clock: Pick<Clock, 'wall'>
  readonly #zone: string
  /** What the disk did not take, and of which day. */
  #unkept = { day: '', usage: NO_USAGE }

  /** `zone`: whose days count. What cannot be read is nothing. */
  constructor(state: string, clock: Pick<Clock, 'wall'>, zone: string) {
    this.#path = join(state, 'agents', 'spent', 'turns.log')
    this.#clock = clock
    this.#zone = zone
  }

  get today(): Usage {
    const day = this.#day()
    const known = [formerOf(this.#path), this.#path].flatMap((path) => usagesIn(path, day))
    const unkept = this.#unkept.day === day ? this.#unkept.usage : NO_USAGE
    return known.reduce(addUsage, unkept)
  }

  /** When the next day begins, milliseconds since 1970. */
  get endsAt(): number {
    return nextDay(this.#clock.wall(), this.#zone)
  }

  /** Throws what the system says; it is remembered all the same. */
  async add(usage: Usage): Promise<void> {
    const day = this.#day()
    try {
      await ensureFolder(dirname(this.#path))
      // A line that a loss of power cut short ends here, and does not spoil this one.
      await appendLine(this.#path, `\n${JSON.stringify({ day, usage })}`, FILE_MAX)
    } catch (error) {
      const before = this.#unkept.day === day ? this.#unkept.usage : NO_USAGE
      this.#unkept = { day, usage: addUsage(before, usage) }
      throw error
    }
  }

  #day(): string {
    return dayOf(this.#clock.wall(), this.#zone)
  }
}

function usagesIn(path: string, day: string): Usage[] {
  return textIn(path)
    .split('\n')
    .flatMap((line) => usageOf(line, day) ?? [])
}

/** A file with a line more than it may have is still read. */
function textIn(path: string): string {
  try {
    return readPlainFileSync(path, 2 * FILE_MAX) ?? ''
  } catch {
    return ''
  }
}

function usageOf(line: string, day: string): Usage | null {
  try {
    const said: unknown = JSON.parse(line)
    return field(said, 'day') === day ? usageIn(field(said, 'usage')) : null
  } catch {
    return null
  }
}
