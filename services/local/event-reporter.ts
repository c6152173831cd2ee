import type { CommandContext } from '#console/context.ts'
import { failureOf } from '#console/failure.ts'
import { oneLine } from '#console/terminal-text.ts'
import { redact } from '#fleet/redact.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'

/** An event in a local fleet. */
export interface FleetEvent {
  readonly agent: string
  readonly program: string
  readonly event: string
  readonly fields?: Readonly<Record<string, unknown>>
}

/** Lines kept to be shown under the live table. */
const LINES_KEPT = 200

/** Reports events: as lines, as JSON, or under the live table. */
export class EventReporter {
  readonly #context: CommandContext
  readonly #json: boolean
  #kept: string[] = []
  #quiet = false

  constructor(context: CommandContext, json: boolean) {
    this.#context = context
    this.#json = json
  }

  /** Whether events are printed as JSON. */
  get json(): boolean {
    return this.#json
  }

  /** The last lines, newest last. */
  last(lines: number): readonly string[] {
    return lines > 0 ? this.#kept.slice(-lines) : []
  }

  /** While it is quiet, lines are kept for the live table and not printed. */
  keepQuiet(quiet: boolean): void {
    this.#quiet = quiet
  }

  tell({ agent, program, event, fields = {} }: FleetEvent): void {
    const at = new Date(this.#context.clock.wall())
    if (this.#json) {
      const line = JSON.stringify({ at: at.toISOString(), agent, program, event, ...fields }, plainErrors)
      this.#context.print(`${redact(line)}\n`)
      return
    }
    const details = Object.entries(forPeople(fields)).flatMap(([name, value]) =>
      value === null ? [] : [fieldText(name, value)],
    )
    const line = redact(oneLine(`${at.toTimeString().slice(0, 8)} ${agent} ${program}: ${event} ${details.join(' ')}`))
    this.#kept = [...this.#kept, line].slice(-LINES_KEPT)
    if (!this.#quiet) this.#context.print(`${line}\n`)
  }

  /** Reports a failure of `s2 up` itself, which is tried again. */
  trouble(what: string, error: unknown): void {
    this.tell({ agent: ORCHESTRATOR, program: 's2 up', event: what, fields: { error: failureOf(error).message } })
  }
}

/** The sentence of an incident says what its other fields repeat; `s2 incident show` takes its number. */
function forPeople(fields: NonNullable<FleetEvent['fields']>): NonNullable<FleetEvent['fields']> {
  const { text, incident } = fields
  return text === undefined || incident === undefined ? fields : { text, incident }
}

function fieldText(name: string, value: unknown): string {
  if (typeof value === 'string') return name === 'text' ? value : `${name}=${value}`
  if (typeof value === 'object' && value !== null && 'message' in value) return `${name}=${String(value.message)}`
  return `${name}=${JSON.stringify(value)}`
}

function plainErrors(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value
}
