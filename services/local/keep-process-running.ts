import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'

/** A running program. */
export interface RunningChild {
  readonly pid: number
  /** Settles when it has ended, never rejects. */
  readonly ended: Promise<ChildEnd>
  /** Sends a signal to its whole process group. */
  signal(signal: NodeJS.Signals): void
}

export interface ChildEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface ProcessSupervisorParts {
  readonly clock: Clock
  readonly chance: Chance
  /** Starts the program. Throws when it cannot be started. */
  start(): RunningChild
  say(event: SupervisorEvent): void
}

export type SupervisorEvent =
  | { readonly event: 'started'; readonly pid: number }
  | { readonly event: 'ended'; readonly end: ChildEnd; readonly againInMs: number | null }
  | { readonly event: 'not_started'; readonly error: unknown; readonly againInMs: number }
  | { readonly event: 'killed' }

export type ChildState = 'running' | 'waiting' | 'held' | 'stopped'

export const RESTART = { firstMs: 500, mostMs: 30_000 }
/** After a run of this length the next wait is the first one again. */
export const STABLE_MS = 60_000

/** Keeps one program running: starts it again when it ends, after a growing pause with full jitter, until held or stopped. */
export class ProcessSupervisor {
  readonly #parts: ProcessSupervisorParts
  readonly #stopped = new AbortController()
  #pause = new AbortController()
  #held = false
  #release = Promise.withResolvers<void>()
  #child: RunningChild | null = null
  readonly #pauses: Pauses
  #starts = 0
  readonly #done: Promise<void>

  constructor(parts: ProcessSupervisorParts) {
    this.#parts = parts
    this.#pauses = new Pauses(RESTART, parts.chance)
    this.#done = this.#keep()
  }

  get state(): ChildState {
    if (this.#child !== null) return 'running'
    return this.#stopped.signal.aborted ? 'stopped' : this.#held ? 'held' : 'waiting'
  }

  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** How often it was started again. */
  get restarts(): number {
    return Math.max(0, this.#starts - 1)
  }

  /** Does not start it again until `release`. The caller ends the process that runs. */
  hold(): void {
    if (this.#held) return
    this.#held = true
    this.#release = Promise.withResolvers()
    this.#pause.abort()
  }

  release(): void {
    if (!this.#held) return
    this.#held = false
    this.#pauses.succeeded()
    this.#release.resolve()
  }

  /** Ends it for good: TERM, and KILL to its group when it has not ended in this time. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped.abort()
    this.#pause.abort()
    this.#release.resolve()
    const child = this.#child
    if (child !== null) await this.#end(child, graceMs)
    await this.#done
  }

  async #end(child: RunningChild, graceMs: number): Promise<void> {
    const ended = new AbortController()
    void child.ended.then(() => ended.abort())
    child.signal('SIGTERM')
    child.signal('SIGCONT') // a stopped process does not handle TERM
    await this.#parts.clock.sleep(graceMs, ended.signal).catch(() => undefined)
    if (ended.signal.aborted) return
    this.#parts.say({ event: 'killed' })
    child.signal('SIGKILL')
    await child.ended
  }

  async #keep(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      if (this.#held) await this.#release.promise
      else await this.#live()
    }
  }

  /** Runs the program once, and waits. */
  async #live(): Promise<void> {
    const { clock, start, say } = this.#parts
    const began = clock.now()
    let end: ChildEnd | null = null
    let fault: unknown
    try {
      const child = start()
      this.#child = child
      this.#starts += 1
      say({ event: 'started', pid: child.pid })
      end = await child.ended
    } catch (error) {
      fault = error
    } finally {
      this.#child = null
    }
    if (clock.now() - began >= STABLE_MS) this.#pauses.succeeded()
    const isOver = this.#stopped.signal.aborted || this.#held
    const againInMs = isOver ? null : this.#pauses.failed()
    if (end !== null) say({ event: 'ended', end, againInMs })
    else say({ event: 'not_started', error: fault, againInMs: againInMs ?? 0 })
    if (againInMs === null) return
    this.#pause = new AbortController()
    await clock.sleep(againInMs, this.#pause.signal).catch(() => undefined)
  }
}
