import type { NewConversation, OpenedConversation } from '#fleet/conversation.ts'
import type { SessionId } from '#fleet/session-id.ts'

/** What the registry of workers does with conversations: each backend's table of them has it. */
export interface ConversationTokens {
  openConversation(wanted: NewConversation): OpenedConversation
  /** Lets it live for lifetimeMs from now, also when it has ended or is gone. Answers whether it was alive. */
  revive(id: string, lifetimeMs: number): boolean
  isAlive(id: string): boolean
  /** Throws `not_found` or `expired`. */
  demandLive(id: string): void
  endConversation(id: string): void
  tokens(session: SessionId): readonly string[]
  rotateToken(session: SessionId, overlapMs: number): string
  /** Ends the overlap of a rotation. */
  endFormerToken(session: SessionId): void
  /** Calls its worker otherwise. */
  nameWorker(id: string, agent: string, role: string): void
  /** The agent and the role of a session, also after its conversation has ended; null where there is none. */
  endOf(session: SessionId): { readonly agent: string; readonly role: string } | null
  /** Calls the agent of this session by the session's id, as those are called that other bridges brought. */
  disown(session: SessionId): void
}
