import type { AuditedAct } from './audit.ts'
import { S2Error } from './errors.ts'
import { redactedHead } from './redact.ts'
import { parseSession, type SessionId } from './session-id.ts'

/** How far a message has come. Only acked counts as received. States move in this order and never back. */
export const DELIVERY = ['queued', 'delivered', 'leased', 'acked'] as const
export type Delivery = (typeof DELIVERY)[number]

/** The marks that a reader's side may set. */
export type Mark = Exclude<Delivery, 'queued'>

export interface Message {
  /** Rises with every message of one database; never used twice. */
  readonly id: number
  readonly from: SessionId
  readonly to: SessionId
  /** The agent that wrote it, where that is not the one at the other end of the conversation; else left out. */
  readonly sender?: string
  readonly text: string
  /** What kind of message it is, by its sender (the Python bridge's `action_type`); null where it names none. */
  readonly action: string | null
  readonly files: readonly string[]
  /** Milliseconds since 1970 by the writer's clock: for people to read, never to order by. */
  readonly sentAt: number
}

export interface StoredMessage extends Message {
  readonly delivery: Delivery
}

/** A message that is not acked, without what it says: its text may be long, and there may be very many. */
export type WaitingMessage = Pick<StoredMessage, 'id' | 'from' | 'sentAt' | 'delivery'>

export function waitingMessageOf({ id, from, sentAt, delivery }: StoredMessage): WaitingMessage {
  return { id, from, sentAt, delivery }
}

export interface MessageDraft {
  readonly text: string
  readonly action?: string | null
  readonly files?: readonly string[]
}

/** Characters (UTF-16 units) of one message's text. */
export const TEXT_MAX = 50_000
export const FILES_MAX = 200
export const NAME_MAX = 400
/** Characters of a sender's idempotency key. */
export const KEY_MAX = 200

/** Characters of messages after which a read of them ends, so that none takes all the memory there is. */
export const READ_MAX = 4_000_000

/** What a message counts in a read. */
export function lengthOf({ text, action, files }: Message): number {
  return text.length + (action?.length ?? 0) + files.reduce((sum, file) => sum + file.length, 0)
}

/** Whether a read of at most `limit` messages came to the end: it was cut by neither their number nor their length. */
export function isLastPage(page: readonly Message[], limit: number): boolean {
  return page.length < limit && page.reduce((sum, message) => sum + lengthOf(message), 0) < READ_MAX
}

/** Refuses a draft that no store may keep: `invalid`, `too_large`. */
export function checkDraft(draft: MessageDraft): void {
  if (draft.text.length === 0) throw new S2Error('invalid', 'the message is empty', { next: 'send some text' })
  if (draft.text.length > TEXT_MAX) {
    throw new S2Error('too_large', `the message has more than the ${TEXT_MAX} characters that are allowed`, {
      next: 'put the long part into a file in git and send its path',
    })
  }
  if ((draft.action ?? '').length > NAME_MAX)
    throw new S2Error('too_large', `the action is longer than ${NAME_MAX} characters`, {
      next: 'name it in a word or two; the rest belongs in the text',
    })
  const files = draft.files ?? []
  if (files.length > FILES_MAX || files.some((file) => file.length > NAME_MAX)) {
    throw new S2Error('too_large', `a message names at most ${FILES_MAX} files, by ${NAME_MAX} characters each`, {
      next: 'name the folder that they lie in, or a file that lists them',
    })
  }
  if (files.some((file) => file === '' || UNSEEN.test(file))) {
    throw new S2Error('invalid', 'a file name is empty or has characters that nobody sees', {
      next: 'name files by characters that can be read',
    })
  }
}

/** Refuses a send that no store may do: `invalid`, `too_large`. */
export function checkSend(from: SessionId, key: string, draft: MessageDraft): void {
  parseSession(from)
  checkDraft(draft)
  if (key.length >= 1 && key.length <= KEY_MAX) return
  throw new S2Error('invalid', `the key of a message has ${key.length} characters; 1 to ${KEY_MAX} are allowed`, {
    next: 'use a shorter one, for example a hash of what it stands for',
  })
}

/** The audit entry of a message that a session sent. */
export function sendAct(from: SessionId, { id, to, sender }: Message): AuditedAct {
  return { actor: from, action: 'send', details: { message: id, to, ...(sender === undefined ? {} : { sender }) } }
}

/** A draft as it is kept: secrets redacted, and every field set. Marks are longer than short secrets, so it is cut again. */
export function cleanDraft({ text, action = null, files = [] }: MessageDraft): Required<MessageDraft> {
  return {
    text: redactedHead(text, TEXT_MAX),
    action: action === null ? null : redactedHead(action, NAME_MAX),
    files: files.map((file) => redactedHead(file, NAME_MAX)),
  }
}

/** Control characters, and those that nobody sees or that turn the order of the others: a name needs none of them. */
const UNSEEN =
  /[\p{Cc}\p{Zl}\p{Zp}\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u

/** True when `to` lies further along than `from`. */
export function advances(from: Delivery, to: Delivery): boolean {
  return DELIVERY.indexOf(to) > DELIVERY.indexOf(from)
}
