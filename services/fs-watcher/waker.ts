import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { MailSource, UnreadMail, WakeTarget } from './unread-mail.ts'
import type { Woken } from './woken.ts'

/** What a wake is told. */
export interface WakeCall {
  readonly target: WakeTarget
  /** All that waits unread for the target, oldest first. */
  readonly mail: readonly UnreadMail[]
  /** Those among it that nobody was woken for before. */
  readonly fresh: ReadonlySet<UnreadMail>
}

/** Wakes the agent behind a target; rejects when that failed. Ends early when the signal aborts. */
export type Wake = (call: WakeCall, signal: AbortSignal) => Promise<void>

/** A wake that could not even begin, so that it may be tried again for the same messages. */
export class NotBegun extends Error {
  override readonly name = 'NotBegun'
}

export interface WakerParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Pick<Log, 'error' | 'warn' | 'info' | 'debug'>
  readonly signal: AbortSignal
  readonly source: Pick<MailSource, 'unread' | 'covers'>
  readonly woken: Pick<Woken, 'has' | 'keep' | 'release'>
  readonly wake: Wake
  /** Told of each wake that ended: how long after the first hint it began, and how long it ran. */
  onWake(ended: { readonly error: unknown; readonly waitedMs: number; readonly tookMs: number }): void
}

/** Between wakes of one target that fail. */
const FAILING = { firstMs: 1_000, mostMs: 60_000 }

/**
 * Rouses targets: for each message at most once, never two wakes of a target at a time; what comes while one runs goes
 * together into the next, unless it has been read by then.
 */
export class Waker {
  readonly #parts: WakerParts
  /** When each target that may have new mail was first said to. */
  readonly #hinted = new Map<WakeTarget, number>()
  readonly #busy = new Map<WakeTarget, Promise<void>>()
  /** Attempts that failed since the last one that did not. */
  readonly #failures = new Map<WakeTarget, number>()
  #complaint = ''

  constructor(parts: WakerParts) {
    this.#parts = parts
  }

  /** There may be new mail for a target: what there is, is looked up. Hints cost little. */
  hint(target: WakeTarget): void {
    if (!this.#hinted.has(target)) this.#hinted.set(target, this.#parts.clock.now())
    if (this.#busy.has(target) || this.#parts.signal.aborted) return
    const rousing = this.#rouse(target).finally(() => this.#busy.delete(target))
    this.#busy.set(target, rousing)
  }

  /** Settles when no wake runs any more. */
  async idle(): Promise<void> {
    while (this.#busy.size > 0) await Promise.all(this.#busy.values())
  }

  async #rouse(target: WakeTarget): Promise<void> {
    const { clock, chance, signal } = this.#parts
    while (!signal.aborted) {
      const hintedAt = this.#hinted.get(target)
      if (hintedAt === undefined) return
      this.#hinted.delete(target)
      if (await this.#attempt(target, hintedAt)) continue
      const failures = this.#failures.get(target) ?? 0
      this.#failures.set(target, failures + 1)
      if (!this.#hinted.has(target)) this.#hinted.set(target, clock.now())
      const waitMs = FAILING.firstMs / 2 + backoff(failures, FAILING, chance)
      await clock.sleep(waitMs, signal).catch(() => undefined)
    }
  }

  /** Looks up what waits, and wakes if there is anything new; answers false when another try had better wait. */
  async #attempt(target: WakeTarget, hintedAt: number): Promise<boolean> {
    const { source, woken, log } = this.#parts
    let call: WakeCall
    try {
      const mail = await source.unread(target)
      const fresh = new Set(mail.filter((each) => !woken.has(each)))
      if (fresh.size === 0) return true
      call = { target, mail, fresh }
      await woken.keep(mail, (session) => source.covers(target, session))
    } catch (error) {
      this.#complain('mail cannot be looked up or noted: nobody is woken for it yet', { target, error }, error)
      return false
    }
    const error = await this.#wake(call, hintedAt)
    if (error instanceof NotBegun) {
      await woken.release([...call.fresh]).catch((fault: unknown) => log.warn('a note cannot be taken back', { fault }))
    }
    return error === null
  }

  /** Answers what went wrong, or null. */
  async #wake(call: WakeCall, hintedAt: number): Promise<unknown> {
    const { clock, log, signal, wake, onWake } = this.#parts
    const began = clock.now()
    const error = await wake(call, signal).then(
      () => null,
      (reason: unknown) => reason,
    )
    const tookMs = clock.now() - began
    const fields = { target: call.target, messages: call.fresh.size, last: call.mail.at(-1)?.id }
    if (error === null) {
      this.#complaint = ''
      this.#failures.delete(call.target)
      log.info('woken', { ...fields, tookMs: Math.round(tookMs) })
    } else if (signal.aborted) {
      log.info('a wake was ended, as this program stops', fields)
      return null
    } else {
      this.#complain('the wake failed: its mail stays unread', { ...fields, error }, error)
    }
    onWake({ error, waitedMs: began - hintedAt, tookMs })
    return error
  }

  /** The same complaint again and again is for those who look closely. */
  #complain(event: string, fields: Readonly<Record<string, unknown>>, error: unknown): void {
    const line = `${event} ${String(error)}`
    if (line === this.#complaint) this.#parts.log.debug(event, fields)
    else if (error instanceof NotBegun) this.#parts.log.error(event, fields)
    else this.#parts.log.warn(event, fields)
    this.#complaint = line
  }
}
