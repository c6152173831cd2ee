import type { Clock } from '#runtime/clock.ts'

/** An event that a program logged. */
export interface ProgramEvent {
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** Last lines of a program's output that are kept. */
const LAST_LINES = 12
/** How long the same event of one program is not shown again. */
const QUIET_MS = 10_000

/**
 * Filters a program's lines for a person: warnings, errors, and the ends of incidents. Each event is shown at most once in 10 s;
 * incidents of different causes are different events.
 */
export class EventFilter {
  readonly #clock: Clock
  readonly #program: string
  readonly #shownAt = new Map<string, number>()
  #last: string[] = []

  constructor(clock: Clock, program: string) {
    this.#clock = clock
    this.#program = program
  }

  forget(): void {
    this.#last = []
  }

  /** The last lines for people; events stay in the log. */
  last(): readonly string[] {
    return this.#last.filter((line) => !line.startsWith('{'))
  }

  take(line: string): ProgramEvent | null {
    this.#last = [...this.#last, line].slice(-LAST_LINES)
    const said = this.#program === PRINTS_TASKS ? null : readEvent(line)
    if (said === null) return null
    const now = this.#clock.now()
    for (const [key, at] of this.#shownAt) if (now - at >= QUIET_MS) this.#shownAt.delete(key)
    const key = keyOf(said)
    if (this.#shownAt.has(key)) return null
    this.#shownAt.set(key, now)
    return said
  }
}

/** It logs no events: what it prints is what its tasks print, and any of them may look like one. */
const PRINTS_TASKS = 'worker'

/** Incidents have a cause and a number. */
function keyOf({ event, fields: { cause, incident } }: ProgramEvent): string {
  return typeof cause === 'string' ? JSON.stringify([event, cause, incident]) : event
}

/** It is logged as information, and is what a person who saw the incident begin waits for. */
const INCIDENT_END = 'incident closed'

function readEvent(line: string): ProgramEvent | null {
  if (!line.startsWith('{')) return null
  try {
    const { level, event, at: _at, program: _program, ...fields } = JSON.parse(line) as Record<string, unknown>
    if (typeof event !== 'string') return null
    return level === 'warn' || level === 'error' || event === INCIDENT_END ? { event, fields } : null
  } catch {
    return null
  }
}
