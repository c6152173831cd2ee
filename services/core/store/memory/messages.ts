import { isDeepStrictEqual } from 'node:util'
import { S2Error } from '#fleet/errors.ts'
import {
  advances,
  lengthOf,
  type Mark,
  type Message,
  type MessageDraft,
  READ_MAX,
  type StoredMessage,
  type WaitingMessage,
  waitingMessageOf,
} from '#fleet/message.ts'
import type { Addressee, Recipient, Writer } from '#fleet/peer-messages.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { type DeliveryRecord, type TrackedMessage, UNDELIVERED } from '../message-deliveries.ts'

/** What was sent with a key: the draft, and the message that it became. */
interface Sent {
  readonly draft: MessageDraft
  /** Null for one to the partner. */
  readonly to: Addressee | null
  readonly messages: readonly Message[]
}

/** Messages, in memory. Ids are places in one list, counted from 1. */
export class MemoryMessages {
  readonly #clock: Clock
  readonly #all: StoredMessage[] = []
  readonly #waiting = new Map<SessionId, Set<number>>()
  readonly #sent = new Map<string, Sent>()
  /** Of messages that an agent did not write from the other end. */
  readonly #origins = new Map<number, { readonly writer: Writer | null; readonly isOwn: boolean }>()
  readonly #records = new Map<number, DeliveryRecord>()
  readonly #listeners = new Map<SessionId | 'all', Set<() => void>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The messages that this sender sent with this key; null where it sent none. Throws `conflict` for another draft. */
  repeated(from: SessionId, key: string, draft: MessageDraft, to: Addressee | null = null): readonly Message[] | null {
    const sent = this.#sent.get(`${from} ${key}`)
    if (sent === undefined) return null
    if (isSameDraft(sent.draft, draft) && isDeepStrictEqual(sent.to, to)) return sent.messages
    throw new S2Error('conflict', `${from} has sent another message with the key ${JSON.stringify(key)}`, {
      next: 'use a new key for a new message',
    })
  }

  /** Keeps a message. `own`: S2 sends it of its own accord. */
  post(
    { to, writer }: Recipient,
    { text, action = null, files = [] }: MessageDraft,
    own: 'own' | 'of an agent' = 'of an agent',
  ): Message {
    const id = this.#all.length + 1
    if (writer !== null || own === 'own') this.#origins.set(id, { writer, isOwn: own === 'own' })
    const sender = writer === null || writer.agent === null ? {} : { sender: writer.agent }
    const kept = Object.freeze([...files])
    const sentAt = this.#clock.wall()
    const message = Object.freeze({ id, from: partnerOf(to), to, ...sender, text, action, files: kept, sentAt })
    this.#all.push(Object.freeze({ ...message, delivery: 'queued' }))
    const waiting = this.#waiting.get(to)
    if (waiting === undefined) this.#waiting.set(to, new Set([id]))
    else waiting.add(id)
    this.#ring(to)
    this.#ring('all')
    return message
  }

  /** Sends what S2 has to say itself, with a key that its sender has not used; answers whether it did. */
  sendOnce(from: SessionId, key: string, draft: MessageDraft): boolean {
    if (this.#sent.has(`${from} ${key}`)) return false
    this.remember(from, key, draft, [this.post({ to: partnerOf(from), writer: null }, draft)])
    return true
  }

  remember(
    from: SessionId,
    key: string,
    draft: MessageDraft,
    messages: readonly Message[],
    to: Addressee | null = null,
  ): void {
    const { text, action = null, files = [] } = draft
    this.#sent.set(`${from} ${key}`, { draft: { text, action, files: [...files] }, to, messages })
  }

  waiting(reader: SessionId, after: number, limit: number): WaitingMessage[] {
    const ids = [...(this.#waiting.get(reader) ?? [])].filter((id) => id > after).slice(0, limit)
    return ids.flatMap((id) => this.#all[id - 1] ?? []).map(waitingMessageOf)
  }

  newest(): number {
    return this.#all.length
  }

  unacked(reader: SessionId, after: number, limit: number): StoredMessage[] {
    const found: StoredMessage[] = []
    let length = 0
    for (const id of this.#waiting.get(reader) ?? []) {
      if (found.length >= limit || length >= READ_MAX) break
      const message = this.#all[id - 1]
      if (id <= after || message === undefined) continue
      found.push(message)
      length += lengthOf(message)
    }
    return found
  }

  after(id: number, limit: number): StoredMessage[] {
    const from = Math.max(0, id)
    return this.#all.slice(from, from + limit)
  }

  find(id: number): TrackedMessage | null {
    const message = this.#all[id - 1]
    if (message === undefined) return null
    const { writer, isOwn } = this.#origins.get(id) ?? { writer: null, isOwn: false }
    return { message, writer, isOwn, record: this.#records.get(id) ?? UNDELIVERED }
  }

  save(id: number, record: DeliveryRecord): void {
    this.#records.set(id, Object.freeze(record))
    const message = this.#all[id - 1]
    const { state } = record
    if (message !== undefined && state !== null && advances(message.delivery, state))
      this.#all[id - 1] = Object.freeze({ ...message, delivery: state })
  }

  end(id: number): void {
    const message = this.#all[id - 1]
    if (message !== undefined) this.#waiting.get(message.to)?.delete(id)
  }

  dead(reader: SessionId | null): number[] {
    const isOpen = ([id, { dead }]: readonly [number, DeliveryRecord]): boolean =>
      dead !== null && dead.settledAs === null && (reader === null || this.#all[id - 1]?.to === reader)
    return [...this.#records].filter(isOpen).map(([id]) => id)
  }

  /** Moves messages forward; answers the ids that moved. */
  mark(reader: SessionId, ids: readonly number[], mark: Mark): number[] {
    const waiting = this.#waiting.get(reader)
    return ids.filter((id) => {
      const message = this.#all[id - 1]
      if (message === undefined || !waiting?.has(id) || !advances(message.delivery, mark)) return false
      this.#all[id - 1] = Object.freeze({ ...message, delivery: mark })
      this.#records.set(id, marked(this.#records.get(id) ?? UNDELIVERED, mark, this.#clock.wall()))
      if (mark === 'acked') waiting.delete(id)
      return true
    })
  }

  /** Waits until a message for this reader comes, or the signal aborts. Nothing may be awaited between a read and this. */
  news(reader: SessionId | 'all', signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    const listeners = this.#listeners.get(reader) ?? new Set()
    this.#listeners.set(reader, listeners)
    const stop = (): void => {
      listeners.delete(stop)
      if (listeners.size === 0 && this.#listeners.get(reader) === listeners) this.#listeners.delete(reader)
      signal.removeEventListener('abort', stop)
      resolve()
    }
    listeners.add(stop)
    signal.addEventListener('abort', stop, { once: true })
    return promise
  }

  #ring(reader: SessionId | 'all'): void {
    for (const wake of [...(this.#listeners.get(reader) ?? [])]) wake()
  }
}

function marked(record: DeliveryRecord, mark: Mark, now: number): DeliveryRecord {
  if (mark === 'acked') return { ...record, ackedAt: now }
  if (mark === 'delivered') return { ...record, state: 'delivered', deliveredAt: now }
  return { ...record, state: 'leased', leasedAt: now, leases: Math.max(1, record.leases) }
}

function isSameDraft(x: MessageDraft, y: MessageDraft): boolean {
  const [files, others] = [x.files ?? [], y.files ?? []]
  return (
    x.text === y.text &&
    (x.action ?? null) === (y.action ?? null) &&
    files.length === others.length &&
    files.every((file, index) => file === others[index])
  )
}
