import { hash } from 'node:crypto'
import { textHead } from '#fleet/cut-text.ts'
import type { StoredMessage, WaitingMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type Assignment, type Revocation, readTaskMessage } from '#fleet/task-messages.ts'

/** An unread message, as far as waking its reader goes. */
export interface UnreadMail {
  readonly id: number
  readonly from: SessionId
  readonly to: SessionId
  readonly sentAt: number
  /** Tells it from a message that has the same id in another database. */
  readonly fingerprint: string
}

/** An unread message as a wake shows it. */
export interface MailPreview extends Pick<UnreadMail, 'id' | 'from' | 'to' | 'sentAt'> {
  readonly action: string | null
  /** How its text begins. */
  readonly preview: string
  /** The agent that wrote it, where that is not the one at the other end of the conversation; else left out. */
  readonly sender?: string
  /** The task that it assigns; left out where it assigns none. */
  readonly assigns?: string
}

/** Characters of the text that a wake shows: the agent reads the whole text from its bridge or inbox. */
const PREVIEW_MAX = 200

export function unreadMailOf({ id, from, sentAt }: Omit<WaitingMessage, 'delivery'>, to: SessionId): UnreadMail {
  const fingerprint = hash('sha256', JSON.stringify([from, sentAt]), 'base64url').slice(0, 12)
  return { id, from, to, sentAt, fingerprint }
}

/** The beginning of the text is copied: a slice would hold all of the text in memory. */
export function previewOf(message: Omit<StoredMessage, 'delivery'>): MailPreview {
  const { id, from, to, action, sentAt, text, sender } = message
  const preview = Buffer.from(textHead(text, PREVIEW_MAX)).toString()
  const said = readTaskMessage(text)
  return {
    id,
    from,
    to,
    action,
    sentAt,
    preview,
    ...(sender === undefined ? {} : { sender }),
    ...(said?.type === 'task_assignment' ? { assigns: said.task } : {}),
  }
}

/** A message that was read before its text was looked up. */
export function textlessPreview({ id, from, to, sentAt }: UnreadMail): MailPreview {
  return { id, from, to, sentAt, action: null, preview: '' }
}

/** Who is woken: an agent, or a session that stands for one. */
export type WakeTarget = string

/** Where S2_WAKE_FOR gives no names, all ends `a` are one target: the orchestrator that works on this host. */
export const ALL_ENDS_A: WakeTarget = 'all ends a'

/** Where mail comes from, and who it is for. */
export interface MailSource {
  /** The messages that wait for a target, oldest first: those neither acked nor taken by its agent. */
  unread(target: WakeTarget): Promise<readonly UnreadMail[]>
  /** These as a wake shows them, in their order; one that was read meanwhile has no text any more. */
  previews(mail: readonly UnreadMail[]): Promise<readonly MailPreview[]>
  /** What people call the agent of a session; null where nobody knows. */
  nameOf(session: SessionId): string | null
  /** Whether `unread` of this target speaks for a session too; it does for sessions that have ended. */
  covers(target: WakeTarget, session: SessionId): boolean
  /** Whom the mail of a session is for, looked up where that is not known yet; null: nobody that is woken here. */
  targetOf(session: SessionId): Promise<WakeTarget | null>
  /** Gives hints of targets that may have new mail until the signal aborts. Never rejects: failures go to `onTrouble`, and it tries again. */
  watch(): Promise<void>
}

export interface MailSourceEvents {
  /** There may be new mail for this target. */
  onHint(target: WakeTarget): void
  /** Mail of a worker names a task of its own: it is assigned, or was taken away. Only the inbox of a host tells. */
  onTask?(to: SessionId, said: Assignment | Revocation): void
  /** The whole source has been read. */
  onLook(): void
  /** The source cannot be read. */
  onTrouble(error: unknown): void
}
