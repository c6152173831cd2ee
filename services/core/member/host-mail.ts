import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Inbox } from '#spool/inbox.ts'
import type { CheckedMessage } from './member.ts'

/** The mail of a host's sessions, as one reader takes it from the inbox: what it took before is acked when it asks for more. */
export class HostMail {
  readonly #inbox: Inbox
  /** What this reader took: it asks for more because it has seen that. */
  readonly #taken = new Set<number>()

  constructor(state: string, onFault: (fault: string) => void) {
    this.#inbox = new Inbox(state, onFault)
  }

  /** Messages to these sessions: first those that another reader took and did not ack, then new ones. */
  async check(sessions: readonly SessionId[], limit: number): Promise<{ messages: CheckedMessage[]; more: number }> {
    const inHand = await this.#inbox.list('cur')
    await this.#inbox.ack(inHand.filter((id) => this.#taken.delete(id)))
    const left = await this.#readAll('cur', sessions)
    const again = left.slice(0, limit).map((message) => ({ ...message, isAgain: true }))
    const waiting = await this.#readAll('new', sessions)
    const fresh = await this.#take(waiting.slice(0, limit - again.length))
    const messages = [...again, ...fresh]
    for (const { id } of messages) this.#taken.add(id)
    return { messages, more: Math.max(0, left.length + waiting.length - messages.length) }
  }

  /** Answers those of the ids that are messages to these sessions, and were here to be acked. */
  async ack(sessions: readonly SessionId[], ids: readonly number[]): Promise<number[]> {
    const own: number[] = []
    for (const id of new Set(ids)) {
      const message = await this.#inbox.read(id)
      if (message !== null && sessions.includes(message.to)) own.push(id)
    }
    const acked = await this.#inbox.ack(own)
    for (const id of acked) this.#taken.delete(id)
    return acked
  }

  /** Takes these messages; one that another reader took first is not among the answer. */
  async #take(wanted: readonly StoredMessage[]): Promise<CheckedMessage[]> {
    const taken: CheckedMessage[] = []
    for (const { id } of wanted) {
      const message = await this.#inbox.takeOne(id)
      if (message !== null) taken.push({ ...message, isAgain: false })
    }
    return taken
  }

  async #readAll(folder: 'new' | 'cur', sessions: readonly SessionId[]): Promise<StoredMessage[]> {
    const found: StoredMessage[] = []
    for await (const [, message] of this.#inbox.readAll(folder, await this.#inbox.list(folder)))
      if (message !== null && sessions.includes(message.to)) found.push(message)
    return found
  }
}
