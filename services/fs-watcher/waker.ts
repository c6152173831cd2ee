import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { MailPreview, MailSource, UnreadMail, WakeTarget } from './mail-source.ts'
import type { WokenMessages } from './woken-messages.ts'

/** The input of a wake. */
export interface WakeCall {
  readonly target: WakeTarget
  /** All that waits unread for the target, oldest first. */
  readonly mail: readonly UnreadMail[]
  /** Those among it that nobody was woken for before. */
  readonly fresh: ReadonlySet<UnreadMail>
  /** How the first of those begin, and the first of the others. */
  readonly messages: readonly MailPreview[]
  readonly earlier: readonly MailPreview[]
}

/** Wakes the agent behind a target; rejects when that failed. Ends early when the signal aborts. */
export type Wake = (call: WakeCall, signal: AbortSignal) => Promise<void>

/** A wake that could not even begin, so that it may be tried again for the same messages. */
export class NotStartedError extends Error {
  override readonly name = 'NotStartedError'
}

export interface WakerParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Pick<Log, 'error' | 'warn' | 'info' | 'debug'>
  readonly signal: AbortSignal
  readonly source: Pick<MailSource, 'unread' | 'previews' | 'covers'>
  readonly woken: Pick<WokenMessages, 'has' | 'keep' | 'release'>
  readonly wake: Wake
  /**
   * Waits until a target may be woken, and answers whether it had to; rejects when the signal aborts. Whoever can wait so proves what
   * was read, and its messages are noted after the wake, so that none is lost. Left out: they are noted before, so that no command runs
   * twice for one.
   */
  readonly untilDue?: (target: WakeTarget, signal: AbortSignal) => Promise<'at once' | 'waited'>
  /** Told of each wake that ended: how long after the first hint it began, and how long it ran. */
  onWake(ended: { readonly error: unknown; readonly waitedMs: number; readonly tookMs: number }): void
}

/** The most messages that one list of a call shows. */
const SHOWN_MAX = 50
/** The pauses between wakes of one target that fail. */
const TRY_AGAIN = { firstMs: 1_000, mostMs: 60_000, leastMs: 500 }

/**
 * Wakes targets: for each message at most once, and never twice at a time. Messages that come while a wake runs go together
 * into the next one, unless they have been read by then.
 */
export class Waker {
  readonly #parts: WakerParts
  /** When each target that may have new mail got its first hint, by the clock that never jumps. */
  readonly #hinted = new Map<WakeTarget, number>()
  readonly #busy = new Map<WakeTarget, Promise<void>>()
  /** The pauses of the targets whose last attempts failed. */
  readonly #pauses = new Map<WakeTarget, Pauses>()
  readonly #troubles = new KnownTroubles()

  constructor(parts: WakerParts) {
    this.#parts = parts
  }

  /** There may be new mail for a target: the waker looks it up. A hint costs little. */
  hint(target: WakeTarget): void {
    if (!this.#hinted.has(target)) this.#hinted.set(target, this.#parts.clock.now())
    if (this.#busy.has(target) || this.#parts.signal.aborted) return
    const waking = this.#wakeUntilDone(target).finally(() => this.#busy.delete(target))
    this.#busy.set(target, waking)
  }

  /** Settles when no wake runs any more. */
  async idle(): Promise<void> {
    while (this.#busy.size > 0) await Promise.all(this.#busy.values())
  }

  /** Wakes a target until no hint is left. An attempt that did not start a command is tried again. */
  async #wakeUntilDone(target: WakeTarget): Promise<void> {
    const { clock, chance, signal } = this.#parts
    while (!signal.aborted) {
      const hintedAt = this.#hinted.get(target)
      if (hintedAt === undefined) return
      this.#hinted.delete(target)
      if (await this.#attempt(target, hintedAt)) continue
      if (!this.#hinted.has(target)) this.#hinted.set(target, clock.now())
      const pauses = this.#pauses.get(target) ?? new Pauses(TRY_AGAIN, chance)
      this.#pauses.set(target, pauses)
      await pauses.wait(clock, signal)
    }
  }

  /** Looks up the mail that waits, and wakes if any of it is new; answers false when the attempt failed. */
  async #attempt(target: WakeTarget, hintedAt: number): Promise<boolean> {
    const { woken, log, untilDue, signal } = this.#parts
    let call: WakeCall | null
    try {
      call = await this.#callFor(target)
      if (call === null) return true
      if (untilDue === undefined) await this.#keep(call)
    } catch (error) {
      if (signal.aborted) return true
      this.#reportFailure('mail lookup failed, wake postponed', { target, error })
      return false
    }
    const error = await this.#wake(call, hintedAt)
    if (error instanceof NotStartedError) {
      await woken.release([...call.fresh]).catch((fault: unknown) => log.warn('wake note not taken back', { fault }))
    } else if (untilDue !== undefined && !signal.aborted) {
      await this.#keep(call).catch((fault: unknown) => log.warn('wake not noted', { fault }))
    }
    return error === null
  }

  /** What a target is woken for once it may be; null where nothing of it is new. */
  async #callFor(target: WakeTarget): Promise<WakeCall | null> {
    const { source, woken, untilDue, signal } = this.#parts
    const isNew = (each: UnreadMail): boolean => !woken.has(each)
    let mail = await source.unread(target)
    if (untilDue !== undefined && mail.some(isNew) && (await untilDue(target, signal)) === 'waited') {
      mail = await source.unread(target)
    }
    const fresh = new Set(mail.filter(isNew))
    if (fresh.size === 0) return null
    const earlier = mail.filter((each) => !fresh.has(each)).slice(0, SHOWN_MAX)
    const messages = await source.previews([...fresh].slice(0, SHOWN_MAX))
    return { target, mail, fresh, messages, earlier: await source.previews(earlier) }
  }

  async #keep({ target, mail }: WakeCall): Promise<void> {
    const { source, woken } = this.#parts
    await woken.keep(mail, (session) => source.covers(target, session))
  }

  /** Answers what went wrong; null for a wake that worked, or was ended with this program. */
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
      this.#troubles.isOver(call.target)
      this.#pauses.delete(call.target)
      log.info('agent woken', { ...fields, tookMs: Math.round(tookMs) })
    } else if (signal.aborted) {
      log.info('wake ended, program stops', fields)
      return null
    } else {
      this.#reportFailure('wake failed, mail stays unread', { ...fields, error })
    }
    onWake({ error, waitedMs: began - hintedAt, tookMs })
    return error
  }

  /** Reports a failure of a target once; while it repeats, it is a detail for the debug log. */
  #reportFailure(event: string, fields: { readonly target: WakeTarget; readonly error: unknown }): void {
    const { log } = this.#parts
    const { target, error } = fields
    if (!this.#troubles.isNew(target, `${event} ${String(error)}`)) log.debug(event, fields)
    else if (error instanceof NotStartedError) log.error(event, fields)
    else log.warn(event, fields)
  }
}
