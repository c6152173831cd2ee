import { textHead } from './cut-text.ts'
import type { NewIncident } from './incident.ts'
import type { Delivery, Message, MessageDraft, StoredMessage } from './message.ts'
import type { SessionId } from './session-id.ts'

/**
 * How messages are handed out: each to one taker at a time, again when that one dies or never acks, and not for ever. The same
 * rule holds for a host's inbox and for readers who ask the store itself.
 */

/** How often a message is handed out before it is a dead letter. */
export const LEASES_MAX = 5
/** Characters of the name of a taker. */
export const TAKER_MAX = 200
/** Characters of the reason for which a message is a dead letter. */
export const REASON_MAX = 500

/** What is known of the last time a message was handed out. Times are milliseconds since 1970. */
export interface MessageLease {
  /** Who took it; null where nobody said. */
  readonly by: string | null
  readonly at: number
  /** How often it was handed out, this time counted. */
  readonly times: number
}

/** A message as it is handed out. */
export interface LeasedMessage extends StoredMessage {
  /** How often it was handed out, this time counted: 1 is the first. */
  readonly times: number
}

/**
 * What becomes of a message that somebody asks for: it is given, held for the one who has it, or dead. A clock that was put back
 * by more than a lease ends the lease as well, so that nothing is held for ever.
 */
export function decideHandOut(
  lease: MessageLease | null,
  now: number,
  leaseMs: number,
  isTakerDead = false,
): 'give' | 'hold' | 'dead' {
  if (lease === null) return 'give'
  if (Math.abs(now - lease.at) < leaseMs && !isTakerDead) return 'hold'
  return lease.times < LEASES_MAX ? 'give' : 'dead'
}

/** How far a message has come, and when, as its store knows: a null where it does not, or has not been so far. */
export interface MessageStatus {
  readonly id: number
  readonly from: SessionId
  readonly to: SessionId
  /** The session that wrote it, whichever conversation it lies in. */
  readonly author: SessionId
  /** The agent that wrote it, where that is not the one at the other end; null else. */
  readonly sender: string | null
  readonly queuedAt: number
  /** A dead letter stays at what it had come to. */
  readonly delivery: Delivery
  readonly deliveredAt: number | null
  readonly leasedAt: number | null
  readonly leasedBy: string | null
  readonly leases: number
  readonly ackedAt: number | null
  readonly dead: DeadLetter | null
}

/** A message that is handed out no more, though nobody acked it. */
export interface DeadLetter {
  readonly at: number
  readonly why: string
  /** The message that was sent in its place; 0 where a person dropped it; null while nobody decided. */
  readonly settledAs: number | null
}

/** That a host has handed a message to its agent. */
export interface LeaseNote extends MessageLease {
  readonly id: number
}

/** A taker's name or a reason as it is kept: one line of bounded length. */
export function oneLineHead(text: string, max: number): string {
  return textHead(text.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ').trim(), max)
}

/** Why a message is a dead letter that was handed out too often. */
export function tooManyLeases({ by, times }: MessageLease): string {
  const last = by === null ? '' : `, last to ${oneLineHead(by, TAKER_MAX)}`
  return `it was handed out ${times} times${last}, and never acked`
}

/** What the sender of a dead letter is told. */
export function deadLetterNotice({ id }: Pick<Message, 'id'>, reader: string, why: string): MessageDraft {
  const text =
    `S2: your message ${id} to ${reader} is a dead letter: ${why}. It is handed out no more. ` +
    `\`s2 message show ${id}\` says how far it came; the orchestrator's \`s2 message retry ${id}\` sends it again.`
  return { text, action: 'dead_letter' }
}

/** Dead letters of one reader: one incident, however many, until somebody has decided on all of them. */
export function deadLetters(reader: SessionId, agent: string, why: string): NewIncident {
  const summary =
    `messages to ${agent} are dead letters: ${why}. List them by \`s2 message dead\`, send them again by ` +
    `\`s2 message retry\` when ${agent} reads its mail, or drop them`
  return { cause: deadLettersCause(reader), kind: 'dead_letters', agent, summary }
}

export function deadLettersCause(reader: SessionId): string {
  return `dead_letters:${reader}`
}

export const DEAD_LETTERS_SETTLED = 'each of them was sent again or dropped'
