import type { Beat } from '#fleet/beat.ts'
import type { ClientActivity } from '#fleet/client-activity.ts'
import type { Credential } from '#fleet/credential.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { RetryLoopParts } from '#runtime/retry-loop.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import type { OutboxProblem } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { AckSender } from './ack-sender.ts'
import { AckTracker } from './ack-tracker.ts'
import { classifyError, isLockedOut } from './error-class.ts'
import type { ScannedInbox } from './inbox-scan.ts'
import type { KeepaliveMetrics } from './keepalive-metrics.ts'
import { MailCatchUp } from './mail-catch-up.ts'
import { MailReceiver } from './mail-receiver.ts'
import { RenewedExpiryNote } from './note-renewed-expiry.ts'
import { OutboxSender } from './outbox-sender.ts'
import type { CredentialsPort, InboxPort, OutboxPort } from './spool-interfaces.ts'

/** The counters of a session that outlive its move to another bridge address. */
export interface SessionCounters {
  beats: number
  /** What the agent itself was seen to do: messages it acked but those that give or take a task, and what it sent. */
  work: number
}

/** What the clients on this host do for the sessions of the fleet. */
export interface ClientsOfSessions {
  activityOf(session: SessionId): ClientActivity | undefined
  /** The signs of progress that were not asked for yet. */
  takeSigns(session: SessionId): number
  /** Calls the listener when a beat is wanted at once. */
  onUrgent(listener: () => void): void
}

export interface SessionParts {
  readonly store: Store
  readonly inbox: InboxPort
  readonly outbox: OutboxPort
  readonly credentials: Pick<CredentialsPort, 'noteRenewal'>
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly troubles: TroubleLog
  readonly metrics: KeepaliveMetrics
  readonly counters: SessionCounters
  /** What is known of the clients that work for the session. Left out: nothing is. */
  readonly clients?: ClientsOfSessions | undefined
  /** Aborts when nothing new shall be received. */
  readonly receiving: AbortSignal
}

/** How often a session that the bridge locks out asks whether it still does. */
const LOCKED_OUT_MS = 30_000
/** How often a session asks that another place speaks for, where the bridge does not say when. */
const ASIDE_MS = 30_000
/** A stream of mail, or a long outbox, that goes on for this long has got over its trouble. */
const STEADY_MS = 5_000

/** What brings mail in, until its signal aborts. */
interface Incoming {
  readonly ending: AbortController
  readonly loops: readonly [MailReceiver, MailCatchUp]
}

/** One session of this host: what it receives, acks and sends, each in a loop of its own. */
export class Session implements AsyncDisposable {
  readonly session: SessionId
  /** The bridge it speaks to. */
  readonly bridgeUrl: string
  readonly #parts: SessionParts
  readonly #ending = new AbortController()
  /** The topics of its loops' troubles, which end with it. */
  readonly #topics = new Set<string>()
  readonly #acks: AckSender
  readonly #tracker: AckTracker
  readonly #outbox: OutboxSender
  readonly #expiry: RenewedExpiryNote
  /** Null until the bridge has taken a beat of this place: where another speaks for the session, the mail is its. */
  #incoming: Incoming | null = null
  /** Settles when all that brought mail in before has ended. */
  #formerIncoming: Promise<unknown> = Promise.resolve()
  /** Until when the locked-out session asks for nothing, by the clock that never jumps; null while it is not locked out. */
  #silentUntil: number | null = null
  /** Until when it does not beat, as another place speaks for it, by the same clock; null where none does. */
  #asideUntil: number | null = null

  constructor({ session, bridgeUrl, expiresAt }: Credential, parts: SessionParts) {
    this.session = session
    this.bridgeUrl = bridgeUrl
    this.#parts = parts
    const { store, inbox, outbox, clock, log, credentials } = parts
    const { signal } = this.#ending
    this.#acks = new AckSender({
      ...this.#loopParts('acks', signal),
      session,
      store,
      onConfirmed: async (ids, mark) => {
        if (mark === 'acked') this.#onAcked(ids)
        await this.#tracker.onConfirmed(ids, mark)
      },
    })
    this.#tracker = new AckTracker({ session, inbox, clock, log, acks: this.#acks })
    this.#outbox = new OutboxSender({
      ...this.#loopParts('outbox', signal),
      store,
      outbox,
      onSent: () => this.#onSent(),
      onRefused: (name, problem) => this.#onRefused(name, problem),
    })
    this.#expiry = new RenewedExpiryNote({
      ...this.#loopParts('conversation expiry', AbortSignal.any([signal, parts.receiving])),
      session,
      store,
      expiresAt,
      noteRenewal: (of, at) => credentials.noteRenewal(of, at),
    })
  }

  /** True while there is something to send that the bridge has not failed to take. */
  get isBusy(): boolean {
    return (this.#outbox.waiting > 0 && !this.#outbox.failing) || (this.#acks.waiting > 0 && !this.#acks.failing)
  }

  /** How many acks the bridge has not confirmed. */
  get unsentAcks(): number {
    return this.#acks.waiting
  }

  get isLockedOut(): boolean {
    return this.#silentUntil !== null
  }

  /** False while the session is locked out or spoken for from elsewhere, and it is too early to ask again. */
  get maySpeak(): boolean {
    return this.#silenceMs() <= 0 && this.#parts.clock.now() >= (this.#asideUntil ?? Number.NEGATIVE_INFINITY)
  }

  /** Whether the message of this id in the inbox is one of this session's. */
  tracks(id: number): boolean {
    return this.#tracker.tracks(id)
  }

  nextBeat(host: string, incarnation: string, place: string | undefined): Beat {
    const { counters, clients } = this.#parts
    counters.beats += 1
    counters.work += clients?.takeSigns(this.session) ?? 0
    const { beats: seq, work } = counters
    const activity = clients?.activityOf(this.session)
    return {
      session: this.session,
      host,
      incarnation,
      seq,
      work,
      ...(place === undefined ? {} : { place }),
      ...(activity === undefined ? {} : { activity }),
    }
  }

  /** Takes what a scan of the inbox found: queues the marks that the bridge has not confirmed. */
  onScan(scanned: ScannedInbox): void {
    this.#tracker.onScan(scanned)
  }

  /** Removes from the inbox what the bridge knows as acked. Throws what the disk says. */
  async forgetAcked(scanned: ScannedInbox): Promise<void> {
    await this.#tracker.forgetAcked(scanned)
  }

  /** The bridge knows that these messages were given up, and they have left the inbox. */
  onGivenUp(ids: readonly number[]): void {
    this.#tracker.onGivenUp(ids)
  }

  /** Takes the names of its items in the outbox, in order. */
  enqueue(names: readonly string[]): void {
    this.#outbox.enqueue(names)
  }

  /** The bridge has taken a beat: it lets the session speak, from here. */
  onBeaten(): void {
    this.#asideUntil = null
    this.#incoming ??= this.#receive()
    if (this.isLockedOut) this.retry()
  }

  /** Another place speaks for the session: no mail and no beats, until it may be silent. What was sent and acked here is carried. */
  standAside(retryAfterS: number | undefined): void {
    this.#asideUntil = this.#parts.clock.now() + (retryAfterS === undefined ? ASIDE_MS : retryAfterS * 1_000)
    this.#stopReceiving()
  }

  /** The bridge does not answer. Once it is back, whoever spoke for the session shall be the first to do so. */
  onAway(): void {
    if (this.#asideUntil !== null && this.maySpeak) this.#asideUntil = this.#parts.clock.now() + ASIDE_MS
  }

  /** The bridge does not let it speak. */
  lockOut(): void {
    this.#silentUntil = this.#parts.clock.now() + LOCKED_OUT_MS
  }

  /** What it failed for may be over: every loop tries again at once. */
  retry(): void {
    this.#silentUntil = null
    for (const loop of this.#loops) loop.retry()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    this.#stopReceiving()
    await Promise.all([this.#formerIncoming, ...this.#loops.map(({ done }) => done)])
    for (const topic of this.#topics) this.#parts.troubles.over(topic)
  }

  get #loops(): readonly { readonly done: Promise<void>; retry(): void }[] {
    return [this.#acks, this.#outbox, this.#expiry, ...(this.#incoming?.loops ?? [])]
  }

  #receive(): Incoming {
    const { session } = this
    const { store, log, receiving } = this.#parts
    const ending = new AbortController()
    const signal = AbortSignal.any([ending.signal, receiving])
    const mail = new MailReceiver({
      ...this.#loopParts('mail', signal),
      session,
      store,
      keep: (messages) => this.#keep(messages),
      onForeign: (id, to) => log.warn('message of another session ignored', { session, id, to }),
    })
    const catchUp = new MailCatchUp({
      ...this.#loopParts('mail catch-up', signal),
      session,
      store,
      heldIds: () => this.#tracker.bridgeIds(),
      keep: async (messages) => {
        const fresh = await this.#keep(messages)
        if (fresh > 0) log.warn('messages missing from the stream fetched', { session, messages: fresh })
      },
    })
    return { ending, loops: [mail, catchUp] }
  }

  #stopReceiving(): void {
    if (this.#incoming === null) return
    const { ending, loops } = this.#incoming
    this.#incoming = null
    ending.abort()
    for (const work of ['mail', 'mail catch-up']) this.#parts.troubles.over(this.#topic(work))
    this.#formerIncoming = Promise.all([this.#formerIncoming, ...loops.map(({ done }) => done)])
  }

  #loopParts(work: string, signal: AbortSignal): Omit<RetryLoopParts, 'step'> {
    const { clock, chance, troubles } = this.#parts
    const topic = this.#topic(work)
    this.#topics.add(topic)
    return {
      clock,
      chance,
      signal,
      steadyMs: STEADY_MS,
      restMs: () => this.#silenceMs(),
      onTrouble: (error) => this.#onTrouble(topic, error),
      onWell: () => troubles.over(topic),
    }
  }

  #topic(work: string): string {
    return `${work} of ${this.session}`
  }

  #silenceMs(): number {
    return (this.#silentUntil ?? Number.NEGATIVE_INFINITY) - this.#parts.clock.now()
  }

  /** Puts messages into the inbox; answers how many were new there. */
  async #keep(messages: readonly StoredMessage[]): Promise<number> {
    const { inbox, troubles, metrics } = this.#parts
    const placed = await inbox.putAll(messages).catch((error) => {
      troubles.threw('inbox', error)
      throw error
    })
    troubles.over('inbox')
    const fresh = placed.filter(({ as }) => as === 'new').length
    metrics.delivered.add(fresh)
    this.#tracker.onPlaced(messages, placed)
    return fresh
  }

  /** That a task came or went the worker's own program reads, also while the command of another hangs: it is no sign of work. */
  #onAcked(ids: readonly number[]): void {
    this.#parts.metrics.acked.add(ids.length)
    this.#parts.counters.work += ids.filter((id) => !this.#tracker.isTaskNews(id)).length
  }

  #onSent(): void {
    this.#parts.metrics.sent.add()
    this.#parts.counters.work += 1
  }

  #onRefused(name: string, { code, message, id }: OutboxProblem): void {
    const { metrics, log } = this.#parts
    metrics.refused.add()
    log.warn('outbox item refused by the bridge', { name, session: this.session, code, why: message, id })
  }

  /** An absent bridge, or one that locks the session out, is a trouble of the connection: its beats report it once for all loops. */
  #onTrouble(topic: string, error: unknown): void {
    const { log, troubles } = this.#parts
    if (classifyError(error) !== 'again' && !isLockedOut(error)) troubles.threw(topic, error)
    else log.debug('retry scheduled', { topic, why: (error as Error).message })
  }
}
