import type { AuditedAct } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import { EVERY_CHANNEL, type NewIncident } from '#fleet/incident.ts'
import {
  type Delivery,
  lengthOf,
  type Message,
  type MessageDraft,
  READ_MAX,
  type StoredMessage,
  sendAct,
} from '#fleet/message.ts'
import {
  DEAD_LETTERS_SETTLED,
  type DeadLetter,
  deadLetterNotice,
  deadLetters,
  deadLettersCause,
  decideHandOut,
  type LeasedMessage,
  type LeaseNote,
  type MessageStatus,
  oneLineHead,
  REASON_MAX,
  TAKER_MAX,
  tooManyLeases,
} from '#fleet/message-leases.ts'
import type { Recipient, Writer } from '#fleet/peer-messages.ts'
import { redact } from '#fleet/redact.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'

/** How far a message has come, as it is kept. Times are milliseconds since 1970. */
export interface DeliveryRecord {
  readonly state: Exclude<Delivery, 'queued' | 'acked'> | null
  readonly deliveredAt: number | null
  readonly leasedAt: number | null
  readonly leasedBy: string | null
  /** Until when the store itself keeps it for its taker; null where a host's inbox has it. */
  readonly leasedUntil: number | null
  readonly leases: number
  readonly ackedAt: number | null
  readonly dead: DeadLetter | null
}

export const UNDELIVERED: DeliveryRecord = {
  state: null,
  deliveredAt: null,
  leasedAt: null,
  leasedBy: null,
  leasedUntil: null,
  leases: 0,
  ackedAt: null,
  dead: null,
}

/** A message with all that is kept of it. */
export interface TrackedMessage {
  readonly message: StoredMessage
  readonly writer: Writer | null
  /** S2 sent it of its own accord. */
  readonly isOwn: boolean
  readonly record: DeliveryRecord
}

/** The rows of one backend. */
export interface DeliveryRows {
  find(id: number): TrackedMessage | null
  /** Messages that are neither acked nor dead, oldest first. */
  unacked(reader: SessionId, after: number, limit: number): readonly StoredMessage[]
  save(id: number, record: DeliveryRecord): void
  /** Nobody is to read it any more. */
  end(id: number): void
  post(recipient: Recipient, draft: MessageDraft, own: 'own' | 'of an agent'): Message
  /** The ids of dead letters that nobody decided on, of one reader or of all. */
  dead(reader: SessionId | null): readonly number[]
  isLive(session: SessionId): boolean
  /** What the agent of a session is called; its id where it has no name. */
  agentOf(session: SessionId): string
}

export interface MessageDeliveriesParts {
  readonly rows: DeliveryRows
  readonly clock: Pick<Clock, 'wall'>
  audit(act: AuditedAct): void
  /** Opens an incident of which every channel tells. */
  tell(incident: NewIncident): void
  closeIncident(cause: string, channels: readonly string[], outcome: string): void
}

/** Messages looked at in one go. */
const PAGE = 100
/** Dead letters that are listed. */
export const DEAD_MAX = 10_000

/** What becomes of messages after they were sent: handed out, asked about, given up, sent again. The rules, over any backend. */
export class MessageDeliveries {
  readonly #parts: MessageDeliveriesParts

  constructor(parts: MessageDeliveriesParts) {
    this.#parts = parts
  }

  leaseMessages(reader: SessionId, by: string, limit: number, leaseMs: number): LeasedMessage[] {
    parseSession(reader)
    const { rows } = this.#parts
    const taker = takerName(by)
    const given: LeasedMessage[] = []
    const dead: TrackedMessage[] = []
    let length = 0
    for (let after = 0, isMore = true; isMore; ) {
      const page = rows.unacked(reader, after, PAGE)
      for (const { id } of page) {
        const tracked = rows.find(id)
        if (tracked === null || given.length >= limit || length >= READ_MAX) continue
        const decision = this.#decide(tracked.record)
        if (decision === 'dead') dead.push(tracked)
        if (decision !== 'give') continue
        given.push(this.#lease(tracked, taker, leaseMs))
        length += lengthOf(tracked.message)
      }
      after = page.at(-1)?.id ?? after
      isMore = page.length > 0 && given.length < limit && length < READ_MAX
    }
    for (const tracked of dead) this.#giveUp(tracked, tooManyLeases(leaseOf(tracked.record)))
    return given
  }

  /** A message that lies in a host's inbox is that host's to hand out, from there. */
  #decide(record: DeliveryRecord): 'give' | 'hold' | 'dead' {
    if (record.state !== 'leased') return 'give'
    const { leasedAt, leasedUntil } = record
    if (leasedAt === null || leasedUntil === null) return 'hold'
    return decideHandOut(leaseOf(record), this.#parts.clock.wall(), leasedUntil - leasedAt)
  }

  #lease({ message, record }: TrackedMessage, by: string, leaseMs: number): LeasedMessage {
    const now = this.#parts.clock.wall()
    const times = record.leases + 1
    this.#parts.rows.save(message.id, {
      ...record,
      state: 'leased',
      deliveredAt: record.deliveredAt ?? now,
      leasedAt: now,
      leasedBy: by,
      leasedUntil: now + Math.round(leaseMs),
      leases: times,
    })
    return { ...message, delivery: 'leased', times }
  }

  noteLeases(reader: SessionId, notes: readonly LeaseNote[]): void {
    parseSession(reader)
    const { rows, clock } = this.#parts
    for (const { id, by, at, times } of notes) {
      const tracked = this.#waiting(reader, id)
      if (tracked === null || times < tracked.record.leases) continue
      rows.save(id, {
        ...tracked.record,
        state: 'leased',
        deliveredAt: tracked.record.deliveredAt ?? clock.wall(),
        leasedAt: Math.min(Math.round(at), clock.wall()),
        leasedBy: by === null ? null : takerName(by),
        leasedUntil: null,
        leases: times,
      })
    }
  }

  /** Throws `not_found`. */
  messageStatus(id: number): MessageStatus {
    return statusOf(this.#demand(id))
  }

  giveUpMessages(reader: SessionId, ids: readonly number[], why: string): void {
    parseSession(reader)
    for (const id of ids) {
      const tracked = this.#waiting(reader, id)
      if (tracked !== null) this.#giveUp(tracked, why)
    }
  }

  deadLetters(): MessageStatus[] {
    const ids = this.#parts.rows.dead(null).slice(0, DEAD_MAX)
    return ids.flatMap((id) => {
      const tracked = this.#parts.rows.find(id)
      return tracked === null ? [] : [statusOf(tracked)]
    })
  }

  retryMessages(ids: readonly number[]): Message[] {
    const all = ids.map((id) => this.#demandDead(id))
    for (const { message, record } of all) this.#demandRetriable(message, record)
    const sent = all.map((tracked) => this.#retry(tracked))
    this.#closeSettled(all)
    return sent
  }

  dropMessages(ids: readonly number[]): void {
    const all = ids.map((id) => this.#demandDead(id))
    const open = all.filter(({ record }) => record.dead?.settledAs === null)
    for (const { message, record } of open) this.#settle(message.id, record, 0)
    if (open.length > 0) {
      const messages = open.map(({ message }) => message.id)
      this.#parts.audit({ actor: 'admin', action: 'dead_letters_dropped', details: { messages } })
    }
    this.#closeSettled(all)
  }

  /** What nobody decided on for so long is dropped: the message is about to move into a file. */
  prune(time: number): void {
    const tracked = this.#parts.rows.dead(null).flatMap((id) => this.#parts.rows.find(id) ?? [])
    const old = tracked.filter(({ record }) => (record.dead?.at ?? time) < time).map(({ message }) => message.id)
    if (old.length > 0) this.dropMessages(old)
  }

  #retry({ message, writer, isOwn, record }: TrackedMessage): Message {
    const settledAs = record.dead?.settledAs ?? 0
    const earlier = settledAs > 0 ? this.#parts.rows.find(settledAs) : null
    if (earlier !== null) return withoutDelivery(earlier.message)
    const { text, action, files, to, from } = message
    const sent = this.#parts.rows.post({ to, writer }, { text, action, files }, isOwn ? 'own' : 'of an agent')
    this.#settle(message.id, record, sent.id)
    const act = sendAct(writer?.session ?? from, sent)
    this.#parts.audit({ ...act, details: { ...act.details, retryOf: message.id } })
    return sent
  }

  #settle(id: number, record: DeliveryRecord, settledAs: number): void {
    if (record.dead !== null) this.#parts.rows.save(id, { ...record, dead: { ...record.dead, settledAs } })
  }

  #closeSettled(all: readonly TrackedMessage[]): void {
    const { rows, closeIncident } = this.#parts
    for (const reader of new Set(all.map(({ message }) => message.to)))
      if (rows.dead(reader).length === 0) closeIncident(deadLettersCause(reader), [EVERY_CHANNEL], DEAD_LETTERS_SETTLED)
  }

  /** A notice of S2's own that nobody read is told to nobody: the incident says all there is. */
  #giveUp({ message, writer, isOwn, record }: TrackedMessage, said: string): void {
    const { rows, clock, audit, tell } = this.#parts
    const { id, from, to } = message
    const why = oneLineHead(redact(said), REASON_MAX) || 'its reader could not take it'
    rows.end(id)
    rows.save(id, { ...record, dead: { at: clock.wall(), why, settledAs: null } })
    audit({ actor: to, action: 'dead_letter', details: { messages: [id], why } })
    const reader = rows.agentOf(to)
    const author = writer?.session ?? from
    if (!isOwn && rows.isLive(author))
      rows.post({ to: author, writer: null }, deadLetterNotice(message, reader, why), 'own')
    tell(deadLetters(to, reader, why))
  }

  /** The message, where it is this reader's and neither acked nor dead. */
  #waiting(reader: SessionId, id: number): TrackedMessage | null {
    const tracked = this.#parts.rows.find(id)
    const isWaiting = tracked?.message.to === reader && tracked.record.dead === null
    return isWaiting && tracked.message.delivery !== 'acked' ? tracked : null
  }

  #demand(id: number): TrackedMessage {
    const tracked = this.#parts.rows.find(id)
    if (tracked !== null) return tracked
    throw unknownMessage(id)
  }

  #demandDead(id: number): TrackedMessage {
    const tracked = this.#demand(id)
    if (tracked.record.dead !== null) return tracked
    throw new S2Error('conflict', `message ${id} is no dead letter: it is ${tracked.message.delivery}`, {
      next: '`s2 message dead` lists those that are',
    })
  }

  #demandRetriable({ id, to }: Message, { dead }: DeliveryRecord): void {
    if (dead?.settledAs === 0)
      throw new S2Error('conflict', `message ${id} was dropped`, { next: 'send a new one: s2 send' })
    if (dead?.settledAs === null && !this.#parts.rows.isLive(to))
      throw new S2Error('expired', `the conversation of message ${id} has ended`, {
        next: `drop it: s2 message drop ${id}`,
      })
  }
}

/** The same whoever asks: a session that may not see a message is not told that it is there. */
export function unknownMessage(id: number): S2Error {
  return new S2Error('not_found', `there is no message ${id}, or it is not yours to see`, {
    next: 'its sender, its reader and the bridge’s own host may ask; what was received long ago is in files (S2_KEEP)',
  })
}

function takerName(by: string): string {
  return oneLineHead(redact(by), TAKER_MAX) || 'somebody'
}

function leaseOf({ leasedBy: by, leasedAt, leases: times }: DeliveryRecord) {
  return { by, at: leasedAt ?? 0, times }
}

function statusOf({ message, writer, record }: TrackedMessage): MessageStatus {
  const { id, from, to, sentAt: queuedAt, delivery } = message
  const { deliveredAt, leasedAt, leasedBy, leases, ackedAt, dead } = record
  const sender = writer?.agent ?? null
  const author = writer?.session ?? from
  return { id, from, to, author, sender, queuedAt, delivery, deliveredAt, leasedAt, leasedBy, leases, ackedAt, dead }
}

export function withoutDelivery({ delivery: _, ...message }: StoredMessage): Message {
  return message
}
