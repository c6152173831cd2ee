import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Inbox } from '#spool/inbox.ts'
import { InboxLeases } from '#spool/inbox-leases.ts'
import type { MessageTaker } from '#spool/message-taker.ts'
import type { CheckedMessage } from './member.ts'

export interface HostMailParts {
  readonly state: string
  /** How long a message stays with a reader that does not ack it, milliseconds. */
  readonly messageLeaseMs: number
  /** Milliseconds since 1970. */
  wall(): number
  /** Who reads here. */
  taker(): Promise<MessageTaker>
  onFault(fault: string): void
}

/** The mail of a host's sessions, as one reader takes it from the inbox: what it took before is acked when it asks for more. */
export class HostMail {
  readonly #parts: HostMailParts
  readonly #inbox: Inbox
  readonly #leases: InboxLeases

  constructor(parts: HostMailParts) {
    const { state, messageLeaseMs: leaseMs, onFault } = parts
    this.#parts = parts
    this.#inbox = new Inbox(state, onFault)
    this.#leases = new InboxLeases(state, { inbox: this.#inbox, leaseMs, wall: () => parts.wall(), onFault })
  }

  /** Messages to these sessions: new ones, and those that another reader died with or let lie. */
  async check(sessions: readonly SessionId[], limit: number): Promise<{ messages: CheckedMessage[]; more: number }> {
    const isOwn = ({ to }: StoredMessage): boolean => sessions.includes(to)
    const taken = await this.#leases.take(await this.#parts.taker(), limit, isOwn)
    const messages = taken.map(({ again = null, ...message }) => ({ ...message, again }))
    return { messages, more: await this.#countNew(isOwn) }
  }

  /** Answers those of the ids that are messages to these sessions, and were here to be acked. */
  async ack(sessions: readonly SessionId[], ids: readonly number[]): Promise<number[]> {
    const own: number[] = []
    for (const id of new Set(ids)) {
      const message = await this.#inbox.read(id)
      if (message !== null && sessions.includes(message.to)) own.push(id)
    }
    return await this.#inbox.ack(own)
  }

  async #countNew(isOwn: (message: StoredMessage) => boolean): Promise<number> {
    let count = 0
    for await (const [, message] of this.#inbox.readAll('new', await this.#inbox.list('new')))
      if (message !== null && isOwn(message)) count += 1
    return count
  }
}
