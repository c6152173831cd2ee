import type { NewConversation, OpenedConversation } from '#fleet/conversation.ts'
import type { SessionId } from '#fleet/session-id.ts'

/** What the registry of workers does with conversations: each backend's table of them has it. */
export interface ConversationTokens {
  openConversation(wanted: NewConversation): OpenedConversation
  /** Lets it live for lifetimeMs from now, also when it has ended or is gone. Answers whether it was alive. */
  revive(id: string, lifetimeMs: number): boolean
  isAlive(id: string): boolean
  endConversation(id: string): void
  tokens(session: SessionId): readonly string[]
  rotateToken(session: SessionId, overlapMs: number): string
  /** Ends the overlap of a rotation. */
  endFormerToken(session: SessionId): void
  /** Calls its worker otherwise. */
  nameWorker(id: string, agent: string, role: string): void
}
