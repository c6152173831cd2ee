import type { Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { AckSender, type AckSenderParts } from './ack-sender.ts'
import type { AckReceiver } from './ack-tracker.ts'
import { ConversationRenewal, type ConversationRenewalParts } from './conversation-renewal.ts'
import { MailCatchUp, type MailCatchUpParts } from './mail-catch-up.ts'
import { MailReceiver, type MailReceiverParts } from './mail-receiver.ts'
import { OutboxSender, type OutboxSenderParts } from './outbox-sender.ts'

/** What outlasts a session's place on a link: its beats go on counting when it moves to another bridge address. */
export interface SessionCounters {
  beats: number
  /** What the agent itself was seen to do: messages it acked, messages and reports it sent. */
  work: number
}

export interface SessionParts {
  readonly session: SessionId
  /** The bridge it speaks to. */
  readonly url: string
  readonly counts: SessionCounters
  readonly mail: Omit<MailReceiverParts, 'signal'>
  readonly catchUp: Omit<MailCatchUpParts, 'signal'>
  readonly receipts: Omit<AckSenderParts, 'signal'>
  readonly outgoing: Omit<OutboxSenderParts, 'signal'>
  readonly renewal: Omit<ConversationRenewalParts, 'signal'>
  /** Aborts when nothing new shall be taken. */
  readonly taking: AbortSignal
}

/** One session of this host at its work: five errands that know nothing of each other. */
export class Session implements AckReceiver, AsyncDisposable {
  readonly session: SessionId
  readonly url: string
  readonly counts: SessionCounters
  /** The bridge does not let it speak: it asks seldom, by the clock that never jumps. */
  quietUntil = Number.NEGATIVE_INFINITY
  readonly #over = new AbortController()
  readonly #mail: MailReceiver
  readonly #catchUp: MailCatchUp
  readonly #receipts: AckSender
  readonly #outgoing: OutboxSender
  readonly #renewal: ConversationRenewal

  constructor({ session, url, counts, taking, mail, catchUp, receipts, outgoing, renewal }: SessionParts) {
    this.session = session
    this.url = url
    this.counts = counts
    const { signal } = this.#over
    const stop = AbortSignal.any([signal, taking])
    this.#receipts = new AckSender({ ...receipts, signal })
    this.#outgoing = new OutboxSender({ ...outgoing, signal })
    this.#mail = new MailReceiver({ ...mail, signal: stop })
    this.#catchUp = new MailCatchUp({ ...catchUp, signal: stop })
    this.#renewal = new ConversationRenewal({ ...renewal, signal: stop })
  }

  /** What is in hand and can be carried just now, or could not be tried yet. */
  get isBusy(): boolean {
    const { failing, waiting } = this.#outgoing
    return (waiting > 0 && !failing) || (this.#receipts.waiting > 0 && !this.#receipts.failing)
  }

  get untold(): number {
    return this.#receipts.waiting
  }

  owe(id: number, mark: Mark): void {
    this.#receipts.owe(id, mark)
  }

  reaffirm(id: number): void {
    this.#receipts.reaffirm(id)
  }

  /** What waits in the outbox for it, in order. */
  wait(names: readonly string[]): void {
    this.#outgoing.wait(names)
  }

  /** What it failed for may be over. */
  retry(): void {
    this.quietUntil = Number.NEGATIVE_INFINITY
    this.#receipts.retry()
    this.#outgoing.retry()
    this.#mail.retry()
    this.#catchUp.retry()
    this.#renewal.retry()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    const errands = [this.#mail, this.#catchUp, this.#receipts, this.#outgoing, this.#renewal]
    await Promise.all(errands.map(({ done }) => done))
  }
}
