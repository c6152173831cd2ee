import { S2Error } from '#fleet/errors.ts'
import { isLastPage, type StoredMessage } from '#fleet/message.ts'
import { type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'
import {
  type MailSource,
  type MailSourceEvents,
  type UnreadMail,
  unreadMailOf,
  type WakeTarget,
} from './mail-source.ts'
import type { WokenMessages } from './woken-messages.ts'

export interface DatabaseSourceParts extends MailSourceEvents {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Pick<Log, 'warn' | 'info'>
  readonly signal: AbortSignal
  readonly store: Pick<Store, 'traffic' | 'conversations' | 'unacked'>
  readonly woken: Pick<WokenMessages, 'position' | 'floorOf' | 'has' | 'forgetFloors'>
}

/** How often the mail of every target is looked up without a hint, and the conversations' names are read again. */
const ROUND_MS = 1_000
const LISTEN_AGAIN = { firstMs: 100, mostMs: 5_000 }
/** Messages asked for in one go. */
const PAGE = 100

/** Where S2_WAKE_FOR gives no names, all ends `a` are one target: the orchestrator that works on this host. */
const ORCHESTRATOR: WakeTarget = 'all ends a'

/**
 * The message database of this host, whoever commits there: S2's bridge, the Python bridge or another program. It is read and
 * never written. Agents without names of their own (foreign conversations have none) are named by their sessions.
 */
export class DatabaseSource implements MailSource {
  readonly #wakeFor: readonly string[]
  readonly #parts: DatabaseSourceParts
  /** Who is woken for which session of a live conversation; null: nobody. */
  #targets = new Map<SessionId, WakeTarget | null>()
  #restart = new AbortController()
  #listening: RetryLoop | null = null
  /** The message after which the present stream began, and the last one that it brought. */
  #from = 0
  #heard = 0

  constructor(wakeFor: readonly string[], parts: DatabaseSourceParts) {
    this.#wakeFor = wakeFor
    this.#parts = parts
  }

  async watch(): Promise<void> {
    const { clock, chance, signal, woken, log, onTrouble } = this.#parts
    this.#from = woken.position
    const troubles = new KnownTroubles()
    this.#listening = new RetryLoop({
      clock,
      chance,
      signal,
      limits: LISTEN_AGAIN,
      step: () => this.#listen(),
      onTrouble: (error) => {
        if (troubles.isNew('traffic', String(error))) log.warn('message stream broken, retrying', { error })
      },
      onWell: () => {
        if (troubles.isOver('traffic')) log.info('message stream restored')
      },
    })
    const rounds = new Loop({
      clock,
      signal,
      step: () => this.#goRound(),
      onError: (error) => {
        onTrouble(error)
        return ROUND_MS
      },
    })
    await Promise.all([this.#listening.done, rounds.done])
  }

  async unread(target: WakeTarget): Promise<readonly UnreadMail[]> {
    const mail: UnreadMail[] = []
    for (const [session, each] of this.#targets) if (each === target) mail.push(...(await this.#unreadOf(session)))
    if (mail.some((each) => !this.#parts.woken.has(each) && each.id <= this.#from && each.id > this.#heard))
      this.#startOver()
    return mail.sort((one, other) => one.id - other.id)
  }

  covers(target: WakeTarget, session: SessionId): boolean {
    return (this.#targets.get(session) ?? target) === target
  }

  async #unreadOf(session: SessionId): Promise<UnreadMail[]> {
    const mail: UnreadMail[] = []
    for (let after = this.#parts.woken.floorOf(session), isMore = true; isMore; ) {
      const page = await this.#parts.store.unacked(session, after, PAGE)
      mail.push(...page.filter(({ delivery }) => delivery !== 'leased').map(unreadMailOf))
      after = page.at(-1)?.id ?? after
      isMore = !isLastPage(page, PAGE)
    }
    return mail
  }

  /** Hints at targets as their mail comes, until the stream is to start again from the beginning. */
  async #listen(): Promise<number> {
    const { signal, store } = this.#parts
    const { signal: restart } = this.#restart
    try {
      for await (const batch of store.traffic(this.#from, AbortSignal.any([signal, restart]))) await this.#take(batch)
      if (!restart.aborted) throw new S2Error('unavailable', 'the database has ended the stream of messages')
    } catch (error) {
      if (!restart.aborted) {
        this.#from = Math.max(this.#from, this.#heard)
        throw error
      }
    }
    this.#restart = new AbortController()
    return 0
  }

  async #take(batch: readonly StoredMessage[]): Promise<void> {
    const { woken, onHint, onLook } = this.#parts
    this.#listening?.succeeded()
    if ((batch[0]?.id ?? 0) <= this.#heard) woken.forgetFloors() // another database has replaced the one that was known
    this.#heard = batch.at(-1)?.id ?? this.#heard
    const unread = batch.filter(({ delivery }) => delivery !== 'acked')
    if (unread.some(({ to }) => !this.#targets.has(to))) await this.#readNames()
    for (const target of new Set(unread.map(({ to }) => this.#targets.get(to) ?? null)))
      if (target !== null) onHint(target)
    woken.position = this.#heard
    onLook()
  }

  /** Ids that had been seen come again, for another database: its stream is read from the beginning. */
  #startOver(): void {
    this.#from = 0
    this.#restart.abort()
  }

  async #goRound(): Promise<number> {
    const { onHint, onLook } = this.#parts
    await this.#readNames()
    for (const target of new Set(this.#targets.values())) if (target !== null) onHint(target)
    onLook()
    return ROUND_MS
  }

  async #readNames(): Promise<void> {
    const conversations = await this.#parts.store.conversations()
    this.#targets = new Map(
      conversations.flatMap(({ id, agents }) =>
        (['a', 'b'] as const).map((side) => {
          const session = sessionId(id, side)
          return [session, this.#targetOf(session, agents[side])]
        }),
      ),
    )
  }

  #targetOf(session: SessionId, agent: string): WakeTarget | null {
    if (this.#wakeFor.length === 0) return sideOf(session) === 'a' ? ORCHESTRATOR : null
    return this.#wakeFor.find((name) => name === agent || name === session) ?? null
  }
}
