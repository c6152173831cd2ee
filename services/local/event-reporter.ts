import type { CommandContext } from '#console/context.ts'
import { failureOf } from '#console/failure.ts'
import { oneLine } from '#console/text.ts'
import { redact } from '#fleet/redact.ts'
import { ORCHESTRATOR } from '#fleet/session.ts'

/** One thing that happened in a local fleet. */
export interface FleetEvent {
  readonly agent: string
  readonly program: string
  readonly event: string
  readonly fields?: Readonly<Record<string, unknown>>
}

/** Lines kept for the foot of the live table. */
const KEPT = 200

/** Tells what happens: as lines, as JSON, or quietly, to be shown under the live table. */
export class EventReporter {
  readonly #context: CommandContext
  readonly #json: boolean
  #kept: string[] = []
  #quiet = false

  constructor(context: CommandContext, json: boolean) {
    this.#context = context
    this.#json = json
  }

  /** Whether events go out as JSON. */
  get json(): boolean {
    return this.#json
  }

  /** What happened last, newest last. */
  last(lines: number): readonly string[] {
    return lines > 0 ? this.#kept.slice(-lines) : []
  }

  /** While a live table is on the screen, lines are kept for it and not printed. */
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
    const details = Object.entries(fields).flatMap(([name, value]) => (value === null ? [] : [said(name, value)]))
    const line = redact(oneLine(`${at.toTimeString().slice(0, 8)} ${agent} ${program}: ${event} ${details.join(' ')}`))
    this.#kept = [...this.#kept, line].slice(-KEPT)
    if (!this.#quiet) this.#context.print(`${line}\n`)
  }

  /** Something that went wrong in `s2 up` itself and is tried again. */
  trouble(what: string, error: unknown): void {
    this.tell({ agent: ORCHESTRATOR, program: 's2 up', event: what, fields: { error: failureOf(error).message } })
  }
}

function said(name: string, value: unknown): string {
  if (typeof value === 'string') return name === 'text' ? value : `${name}=${value}`
  if (typeof value === 'object' && value !== null && 'message' in value) return `${name}=${String(value.message)}`
  return `${name}=${JSON.stringify(value)}`
}

function plainErrors(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value
}
