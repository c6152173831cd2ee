import type { Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { CatchUp, type CatchUpParts } from './mail-catch-up.ts'
import { Mail, type MailParts } from './mail-receiver.ts'
import { Outgoing, type OutgoingParts } from './outbox-sender.ts'
import { Receipts, type ReceiptsParts } from './ack-sender.ts'
import { Renewal, type RenewalParts } from './conversation-renewal.ts'
import type { Reader } from './ack-tracker.ts'

/** What outlasts a session's place on a link: its beats go on counting when it moves to another bridge address. */
export interface Counts {
  beats: number
  /** What the agent itself was seen to do: messages it acked, messages and reports it sent. */
  work: number
}

export interface MemberParts {
  readonly session: SessionId
  /** The bridge it speaks to. */
  readonly url: string
  readonly counts: Counts
  readonly mail: Omit<MailParts, 'signal'>
  readonly catchUp: Omit<CatchUpParts, 'signal'>
  readonly receipts: Omit<ReceiptsParts, 'signal'>
  readonly outgoing: Omit<OutgoingParts, 'signal'>
  readonly renewal: Omit<RenewalParts, 'signal'>
  /** Aborts when nothing new shall be taken. */
  readonly taking: AbortSignal
}

/** One session of this host at its work: five errands that know nothing of each other. */
export class Member implements Reader, AsyncDisposable {
  readonly session: SessionId
  readonly url: string
  readonly counts: Counts
  /** The bridge does not let it speak: it asks seldom, by the clock that never jumps. */
  quietUntil = Number.NEGATIVE_INFINITY
  readonly #over = new AbortController()
  readonly #mail: Mail
  readonly #catchUp: CatchUp
  readonly #receipts: Receipts
  readonly #outgoing: Outgoing
  readonly #renewal: Renewal

  constructor({ session, url, counts, taking, mail, catchUp, receipts, outgoing, renewal }: MemberParts) {
    this.session = session
    this.url = url
    this.counts = counts
    const { signal } = this.#over
    const stop = AbortSignal.any([signal, taking])
    this.#receipts = new Receipts({ ...receipts, signal })
    this.#outgoing = new Outgoing({ ...outgoing, signal })
    this.#mail = new Mail({ ...mail, signal: stop })
    this.#catchUp = new CatchUp({ ...catchUp, signal: stop })
    this.#renewal = new Renewal({ ...renewal, signal: stop })
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
