import { hash } from 'node:crypto'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'

/** An unread message, as far as waking its reader goes. */
export interface UnreadMail {
  readonly id: number
  readonly from: SessionId
  readonly to: SessionId
  readonly action: string | null
  readonly sentAt: number
  /** How its text begins. */
  readonly preview: string
  /** Tells it from a message that has the same id in another database. */
  readonly print: string
}

/** Characters of the text that a wake is shown: the agent reads the whole from its bridge or inbox. */
const PREVIEW_MAX = 200

export function unreadMailOf({ id, from, to, action, sentAt, text }: StoredMessage): UnreadMail {
  const print = hash('sha256', JSON.stringify([from, sentAt, text]), 'base64url').slice(0, 12)
  return { id, from, to, action, sentAt, preview: text.slice(0, PREVIEW_MAX), print }
}

/** Whose wakes go together: an agent, or a session that stands for one. */
export type WakeTarget = string

/** Where mail comes from, and who it is for. */
export interface MailSource {
  /** What waits for a target: neither acked nor in its agent's hands. Oldest first. */
  unread(target: WakeTarget): Promise<readonly UnreadMail[]>
  /** Whether `unread` of this target speaks for a session too; it does for sessions that have ended. */
  covers(target: WakeTarget, session: SessionId): boolean
  /** Says which targets may have new mail until the signal aborts. Never rejects: what fails is told and tried again. */
  watch(): Promise<void>
}

export interface MailSourceEvents {
  /** There may be something new for this one. */
  onHint(target: WakeTarget): void
  /** All has been looked at, and could be. */
  onLook(): void
  /** Why it cannot be looked at. */
  onTrouble(error: unknown): void
}
