import type { Message } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'

/** What a wake is told. */
export interface Call {
  readonly session: SessionId
  /** What came since the last wake, oldest first. */
  readonly messages: readonly Message[]
}

/** Wakes the agent behind a session; rejects when that failed. Ends early when the signal aborts. */
export type Wake = (call: Call, signal: AbortSignal) => Promise<void>

export interface RouserParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Pick<Log, 'info' | 'warn' | 'debug'>
  readonly signal: AbortSignal
  readonly wake: Wake
  /** Keeps, durably, that these messages are being woken for. */
  keep(ids: readonly number[]): Promise<void>
  /** Told of each wake that ended. */
  onWake(ended: { readonly ok: boolean; readonly tookMs: number }): void
}

/** Between failing wakes of one session. */
const FAILING = { firstMs: 500, mostMs: 60_000 }
/** Messages one call names at most; the others go into the next. */
const CALL_MAX = 100

/**
 * Rouses sessions: each message at most once, never two wakes of a session at a time, and what comes while one runs goes
 * together into the next.
 */
export class Rouser {
  readonly #parts: RouserParts
  readonly #waiting = new Map<SessionId, Map<number, Message>>()
  readonly #running = new Map<SessionId, Promise<void>>()

  constructor(parts: RouserParts) {
    this.#parts = parts
  }

  /** Takes a message that nobody was woken for yet. The same one twice counts once. */
  hear(message: Message): void {
    const waiting = this.#waiting.get(message.to) ?? new Map<number, Message>()
    waiting.set(message.id, message)
    this.#waiting.set(message.to, waiting)
    if (!this.#running.has(message.to)) this.#start(message.to)
  }

  /** Messages that wait for a wake. */
  get backlog(): number {
    return [...this.#waiting.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /** The lowest id that waits; Infinity where none does. */
  get oldest(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.#waiting.values()].flatMap((waiting) => [...waiting.keys()]))
  }

  /** Settles when no wake runs any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values())
  }

  #start(session: SessionId): void {
    const running = this.#rouse(session).finally(() => this.#running.delete(session))
    this.#running.set(session, running)
  }

  async #rouse(session: SessionId): Promise<void> {
    const { clock, chance, log, signal } = this.#parts
    let failures = 0
    await Promise.resolve() // what was heard in the same turn goes together
    while (!signal.aborted) {
      const call = this.#next(session)
      if (call === null) return
      try {
        await this.#parts.keep(call.messages.map(({ id }) => id))
      } catch (error) {
        for (const message of call.messages) this.hear(message) // not kept, so not woken for: they wait on
        log.warn('cannot keep who was woken', { session, error })
        await clock.sleep(backoff(failures, FAILING, chance), signal).catch(() => undefined)
        failures += 1
        continue
      }
      failures = (await this.#wake(call)) ? 0 : failures + 1
      if (failures > 0) await clock.sleep(backoff(failures - 1, FAILING, chance), signal).catch(() => undefined)
    }
  }

  async #wake(call: Call): Promise<boolean> {
    const { clock, log, signal, wake, onWake } = this.#parts
    const began = clock.now()
    const fields = { session: call.session, messages: call.messages.length, last: call.messages.at(-1)?.id }
    try {
      await wake(call, signal)
      log.info('woken', { ...fields, tookMs: Math.round(clock.now() - began) })
      onWake({ ok: true, tookMs: clock.now() - began })
      return true
    } catch (error) {
      if (!signal.aborted) log.warn('the wake failed: its mail stays unread', { ...fields, error })
      onWake({ ok: false, tookMs: clock.now() - began })
      return false
    }
  }

  #next(session: SessionId): Call | null {
    const waiting = this.#waiting.get(session)
    if (waiting === undefined || waiting.size === 0) {
      this.#waiting.delete(session)
      return null
    }
    const ids = [...waiting.keys()].sort((one, other) => one - other).slice(0, CALL_MAX)
    const messages = ids.flatMap((id) => waiting.get(id) ?? [])
    for (const id of ids) waiting.delete(id)
    return { session, messages }
  }
}
