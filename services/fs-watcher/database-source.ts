import type { StoredMessage } from '#fleet/message.ts'
import { type SessionId, sessionId, sideOf } from '#fleet/session.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'
import {
  type MailSource,
  type MailSourceEvents,
  type UnreadMail,
  unreadMailOf,
  type WakeTarget,
} from './unread-mail.ts'
import type { Woken } from './woken.ts'

export interface DatabaseSourceParts extends MailSourceEvents {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Pick<Log, 'warn'>
  readonly signal: AbortSignal
  readonly store: Pick<Store, 'traffic' | 'conversations' | 'unacked'>
  readonly woken: Pick<Woken, 'position' | 'floorOf' | 'has' | 'forgetFloors'>
}

/** How often everybody's mail is looked up though nothing was heard, and names that conversations give are read again. */
const ROUND_MS = 1_000
const FAILING = { firstMs: 100, mostMs: 5_000 }
/** Messages asked for in one go. */
const PAGE = 100

/** Where no names are given, all ends `a` are one target: the orchestrator that works on this host. */
const ORCHESTRATOR: WakeTarget = 'all ends a'

/**
 * The message database of this host: whatever S2's bridge, the Python bridge or anybody else commits there. It is read and
 * never written. Agents without names of their own (foreign conversations have none) are named by their sessions.
 */
export class DatabaseSource implements MailSource {
  readonly #wakeFor: readonly string[]
  readonly #parts: DatabaseSourceParts
  /** Who is woken for which session of a live conversation; null: nobody. */
  #targets = new Map<SessionId, WakeTarget | null>()
  #restart = new AbortController()
  /** Where the traffic that is listened to began, and how far it has come. */
  #from = 0
  #heard = 0

  constructor(wakeFor: readonly string[], parts: DatabaseSourceParts) {
    this.#wakeFor = wakeFor
    this.#parts = parts
  }

  async watch(): Promise<void> {
    await Promise.all([this.#listen(), this.#goRound()])
  }

  async unread(target: WakeTarget): Promise<readonly UnreadMail[]> {
    const mail: UnreadMail[] = []
    for (const [session, each] of this.#targets) if (each === target) mail.push(...(await this.#unreadOf(session)))
    if (mail.some((each) => !this.#parts.woken.has(each) && each.id <= this.#from && each.id > this.#heard))
      this.#anew()
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
      isMore = page.length === PAGE
    }
    return mail
  }

  /** Hints at targets as their mail comes. */
  async #listen(): Promise<void> {
    const { clock, chance, signal, store, woken, log } = this.#parts
    this.#from = woken.position
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        const stop = AbortSignal.any([signal, this.#restart.signal])
        for await (const batch of store.traffic(this.#from, stop)) {
          await this.#take(batch)
          failures = 0
        }
      } catch (error) {
        if (!signal.aborted) log.warn('listening to the traffic failed; it begins again', { error })
        this.#from = Math.max(this.#from, this.#heard)
      }
      if (!this.#restart.signal.aborted)
        await clock.sleep(backoff(failures, FAILING, chance), signal).catch(() => undefined)
      else this.#restart = new AbortController()
    }
  }

  async #take(batch: readonly StoredMessage[]): Promise<void> {
    const { woken, onHint, onLook } = this.#parts
    if ((batch[0]?.id ?? 0) <= this.#heard) woken.forgetFloors() // another database took the place of the one we knew
    this.#heard = batch.at(-1)?.id ?? this.#heard
    const unread = batch.filter(({ delivery }) => delivery !== 'acked')
    if (unread.some(({ to }) => !this.#targets.has(to))) await this.#readNames()
    for (const target of new Set(unread.map(({ to }) => this.#targets.get(to) ?? null)))
      if (target !== null) onHint(target)
    woken.position = this.#heard
    onLook()
  }

  /** Ids that we had heard of come again: the traffic is listened to from its beginning. */
  #anew(): void {
    this.#from = 0
    this.#restart.abort()
  }

  async #goRound(): Promise<void> {
    const { clock, signal, onHint, onLook, onTrouble } = this.#parts
    while (!signal.aborted) {
      try {
        await this.#readNames()
        for (const target of new Set(this.#targets.values())) if (target !== null) onHint(target)
        onLook()
      } catch (error) {
        onTrouble(error)
      }
      await clock.sleep(ROUND_MS, signal).catch(() => undefined)
    }
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
