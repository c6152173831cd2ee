import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage, WaitingMessage } from '#fleet/message.ts'
import { type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'
import {
  ALL_ENDS_A,
  type MailPreview,
  type MailSource,
  type MailSourceEvents,
  previewOf,
  textlessPreview,
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
  readonly store: Pick<Store, 'traffic' | 'conversations' | 'waiting' | 'unacked' | 'newest'>
  readonly woken: Pick<WokenMessages, 'position' | 'floorOf' | 'has' | 'forgetFloors'>
}

/** How often new mail is looked up without a hint, and the conversations' names are read again. */
const ROUND_MS = 1_000
/** How often all that waits is looked up: somebody may have marked an old message as unread again. */
const LOOK_AT_ALL_MS = 60_000
const LISTEN_AGAIN = { firstMs: 100, mostMs: 5_000 }
/** Messages asked for in one go. */
const PAGE = 1_000

/**
 * The message database of this host, whoever commits there: S2's bridge, the Python bridge or another program. It is read and
 * never written. Agents without names of their own (foreign conversations have none) are named by their sessions.
 */
export class DatabaseSource implements MailSource {
  readonly #wakeFor: readonly string[]
  readonly #parts: DatabaseSourceParts
  /** Who is woken for which session of a live conversation; null: nobody. */
  #targets = new Map<SessionId, WakeTarget | null>()
  /** What the agents of all live conversations are called. */
  #names = new Map<SessionId, string>()
  /** The newest message of each session that was looked at. */
  readonly #looked = new Map<SessionId, number>()
  #lookedAtAll = Number.NEGATIVE_INFINITY
  #restart = new AbortController()
  /** The next stream begins with what comes from now on. */
  #isToBegin = false
  #listening: RetryLoop | null = null
  /** The message after which the present stream began, and the last one that it brought. */
  #from = 0
  #heard = 0

  constructor(wakeFor: readonly string[], parts: DatabaseSourceParts) {
    this.#wakeFor = wakeFor
    this.#parts = parts
  }

  async watch(): Promise<void> {
    const { clock, chance, signal, log, onTrouble } = this.#parts
    this.#from = this.#parts.woken.position
    this.#isToBegin = this.#from === 0
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
    for (const [session, each] of this.#targets) {
      if (each === target) mail.push(...(await this.#look(session, this.#parts.woken.floorOf(session))))
    }
    if (mail.some((each) => !this.#parts.woken.has(each) && each.id <= this.#from && each.id > this.#heard)) {
      this.#startOver()
    }
    return mail.sort((one, other) => one.id - other.id)
  }

  async previews(mail: readonly UnreadMail[]): Promise<readonly MailPreview[]> {
    const previews: MailPreview[] = []
    for (const each of mail) {
      const [message] = await this.#parts.store.unacked(each.to, each.id - 1, 1)
      previews.push(message?.id === each.id ? previewOf(message) : textlessPreview(each))
    }
    return previews
  }

  covers(target: WakeTarget, session: SessionId): boolean {
    return (this.#targets.get(session) ?? target) === target
  }

  async targetOf(session: SessionId): Promise<WakeTarget | null> {
    if (!this.#targets.has(session)) await this.#readNames()
    return this.#targets.get(session) ?? null
  }

  nameOf(session: SessionId): string | null {
    return this.#names.get(session) ?? null
  }

  /** The stream begins with what comes from now on: the next round looks up all that waits. */
  async #beginNow(): Promise<void> {
    const { woken, store } = this.#parts
    this.#heard = await store.newest().catch((error: unknown) => {
      if (isNothingThere(error)) return 0 // then all that comes is new
      throw error // it is locked, say: from its beginning all of its history would come
    })
    this.#from = this.#heard
    woken.position = this.#heard
    this.#isToBegin = false
  }

  /** The mail of a session after an id that its agent has not taken. */
  async #look(session: SessionId, after: number): Promise<UnreadMail[]> {
    const waiting: WaitingMessage[] = []
    for (let last = after, isMore = true; isMore; ) {
      const page = await this.#parts.store.waiting(session, last, PAGE)
      waiting.push(...page)
      last = page.at(-1)?.id ?? last
      isMore = page.length === PAGE
    }
    this.#looked.set(session, Math.max(after, this.#looked.get(session) ?? 0, waiting.at(-1)?.id ?? 0))
    return waiting.filter(({ delivery }) => delivery !== 'leased').map((each) => unreadMailOf(each, session))
  }

  /** Whether a session may have mail that nobody was woken for. Only what came since the last look is read. */
  async #mayHaveNew(session: SessionId): Promise<boolean> {
    const looked = this.#looked.get(session)
    if (looked === undefined) return true
    const mail = await this.#look(session, looked)
    return mail.some((each) => !this.#parts.woken.has(each))
  }

  /** Hints at targets as their mail comes, until the stream is to begin anew. */
  async #listen(): Promise<number> {
    const { signal, store } = this.#parts
    const { signal: restart } = this.#restart
    if (this.#isToBegin) await this.#beginNow()
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
    if ((batch[0]?.id ?? 0) <= this.#heard) {
      woken.forgetFloors() // another database has replaced the one that was known
      this.#looked.clear()
    }
    this.#heard = batch.at(-1)?.id ?? this.#heard
    const unread = batch.filter(({ delivery }) => delivery !== 'acked')
    if (unread.some(({ to }) => !this.#targets.has(to))) await this.#readNames()
    for (const target of new Set(unread.map(({ to }) => this.#targets.get(to) ?? null)))
      if (target !== null) onHint(target)
    woken.position = this.#heard
    onLook()
  }

  /** Ids that had been seen come again, for another database. */
  #startOver(): void {
    this.#isToBegin = true
    this.#restart.abort()
  }

  async #goRound(): Promise<number> {
    const { clock, onHint, onLook } = this.#parts
    await this.#readNames()
    if (clock.now() - this.#lookedAtAll >= LOOK_AT_ALL_MS) {
      this.#lookedAtAll = clock.now()
      this.#looked.clear()
    }
    const hinted = new Set<WakeTarget>()
    for (const [session, target] of this.#targets) {
      if (target !== null && !hinted.has(target) && (await this.#mayHaveNew(session))) hinted.add(target)
    }
    for (const target of hinted) onHint(target)
    onLook()
    return ROUND_MS
  }

  async #readNames(): Promise<void> {
    const conversations = await this.#parts.store.conversations()
    const ends = conversations.flatMap(({ id, agents }) =>
      (['a', 'b'] as const).map((side) => [sessionId(id, side), agents[side]] as const),
    )
    this.#names = new Map(ends)
    this.#targets = new Map(ends.map(([session, agent]) => [session, this.#targetOf(session, agent)]))
  }

  #targetOf(session: SessionId, agent: string): WakeTarget | null {
    if (this.#wakeFor.length === 0) return sideOf(session) === 'a' ? ALL_ENDS_A : null
    return this.#wakeFor.find((name) => name === agent || name === session) ?? null
  }
}

/** Whether a question was refused because there is no database yet: one that cannot be read has a cause. */
function isNothingThere(error: unknown): boolean {
  return error instanceof S2Error && error.code === 'unavailable' && error.cause === undefined
}
