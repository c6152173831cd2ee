import type { AuditedAct } from '#fleet/audit.ts'
import type { Conversation, NewConversation, OpenedConversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import {
  CONVERSATION_PREFIX,
  conversationOf,
  OBSERVER_PREFIX,
  parseSession,
  type SessionId,
  type Side,
} from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ConversationTokens } from '../conversation-tokens.ts'
import type { MemoryAuditChain } from './audit-chain.ts'

/** Makes random bytes that nobody can guess. */
export type Secrets = (bytes: number) => Uint8Array

/** A token that was replaced, in force until its overlap ends. */
interface FormerToken {
  readonly token: string
  readonly endsAt: number
}

interface ConversationRecord {
  conversation: Conversation
  readonly tokens: Record<Side, string>
  readonly former: Record<Side, FormerToken | null>
}

/** The conversations, in memory. */
export class MemoryConversations implements ConversationTokens {
  readonly #chain: MemoryAuditChain
  readonly #clock: Clock
  readonly #secrets: Secrets
  readonly #all = new Map<string, ConversationRecord>()

  constructor(chain: MemoryAuditChain, clock: Clock, secrets: Secrets) {
    this.#chain = chain
    this.#clock = clock
    this.#secrets = secrets
  }

  openConversation({ roles, agents, lifetimeMs, isForObserver = false }: NewConversation): OpenedConversation {
    const id = `${isForObserver ? OBSERVER_PREFIX : CONVERSATION_PREFIX}${this.#hex(8)}`
    const createdAt = this.#clock.wall()
    const conversation = Object.freeze({
      id,
      roles: Object.freeze({ a: roles.a, b: roles.b }),
      agents: Object.freeze({ a: agents.a, b: agents.b }),
      createdAt,
      expiresAt: createdAt + lifetimeMs,
    })
    const tokens = { a: this.#hex(32), b: this.#hex(32) }
    this.#all.set(id, { conversation, tokens, former: { a: null, b: null } })
    this.#audit('conversation_opened', { conversation: id, agents: conversation.agents })
    return { ...conversation, tokens: { ...tokens } }
  }

  /** The live conversations, by age. */
  live(): Conversation[] {
    const now = this.#clock.wall()
    return [...this.#all.values()]
      .map(({ conversation }) => conversation)
      .filter(({ expiresAt }) => expiresAt > now)
      .sort((one, other) => one.createdAt - other.createdAt)
  }

  isLive(session: SessionId): boolean {
    const kept = this.#all.get(conversationOf(session))
    return kept !== undefined && kept.conversation.expiresAt > this.#clock.wall()
  }

  /** Throws `not_found` or `expired`. */
  demandLive(id: string): ConversationRecord {
    const kept = this.#demand(id)
    if (kept.conversation.expiresAt > this.#clock.wall()) return kept
    throw new S2Error('expired', `conversation ${id} has ended`, {
      next: 'open a new one: s2 conversation create, or create_conversation of the Python bridge',
    })
  }

  renewConversation(id: string, lifetimeMs: number): Conversation {
    const kept = this.demandLive(id)
    const expiresAt = Math.max(kept.conversation.expiresAt, this.#clock.wall() + lifetimeMs)
    kept.conversation = Object.freeze({ ...kept.conversation, expiresAt })
    this.#audit('conversation_renewed', { conversation: id, expiresAt })
    return kept.conversation
  }

  endConversation(id: string): void {
    const kept = this.#demand(id)
    const now = this.#clock.wall()
    if (kept.conversation.expiresAt <= now) return
    kept.conversation = Object.freeze({ ...kept.conversation, expiresAt: now })
    this.#audit('conversation_ended', { conversation: id })
  }

  tokens(session: SessionId): string[] {
    const { conversation, side } = parseSession(session)
    const { tokens, former } = this.demandLive(conversation)
    const before = former[side]
    const overlaps = before !== null && before.endsAt > this.#clock.wall()
    return overlaps ? [tokens[side], before.token] : [tokens[side]]
  }

  rotateToken(session: SessionId, overlapMs: number): string {
    const { conversation, side } = parseSession(session)
    const { tokens, former } = this.demandLive(conversation)
    former[side] = { token: tokens[side], endsAt: this.#clock.wall() + overlapMs }
    tokens[side] = this.#hex(32)
    this.#audit('token_rotated', { session, overlapMs })
    return tokens[side]
  }

  revive(id: string, lifetimeMs: number): boolean {
    const kept = this.#demand(id)
    const now = this.#clock.wall()
    const wasAlive = kept.conversation.expiresAt > now
    const expiresAt = Math.max(kept.conversation.expiresAt, now + lifetimeMs)
    kept.conversation = Object.freeze({ ...kept.conversation, expiresAt })
    this.#audit(wasAlive ? 'conversation_renewed' : 'conversation_revived', { conversation: id, expiresAt })
    return wasAlive
  }

  isAlive(id: string): boolean {
    return (this.#all.get(id)?.conversation.expiresAt ?? 0) > this.#clock.wall()
  }

  endFormerToken(session: SessionId): void {
    const { conversation, side } = parseSession(session)
    this.#demand(conversation).former[side] = null
  }

  nameWorker(id: string, agent: string, role: string): void {
    const kept = this.#demand(id)
    const { agents, roles } = kept.conversation
    kept.conversation = Object.freeze({
      ...kept.conversation,
      agents: Object.freeze({ ...agents, b: agent }),
      roles: Object.freeze({ ...roles, b: role }),
    })
  }

  disown(session: SessionId): void {
    const { conversation, side } = parseSession(session)
    const kept = this.#demand(conversation)
    const agents = Object.freeze({ ...kept.conversation.agents, [side]: session })
    kept.conversation = Object.freeze({ ...kept.conversation, agents })
  }

  /** The agent and the role of a session, also after its conversation has ended; null where there is none. */
  endOf(session: SessionId): { readonly agent: string; readonly role: string } | null {
    const { conversation, side } = parseSession(session)
    const kept = this.#all.get(conversation)?.conversation
    return kept === undefined ? null : { agent: kept.agents[side], role: kept.roles[side] }
  }

  #demand(id: string): ConversationRecord {
    const kept = this.#all.get(id)
    if (kept === undefined)
      throw new S2Error('not_found', `there is no conversation ${id}`, { next: 'list them: s2 conversation list' })
    return kept
  }

  #audit(action: string, details: AuditedAct['details']): void {
    this.#chain.append({ actor: 'admin', action, details })
  }

  #hex(bytes: number): string {
    return Buffer.from(this.#secrets(bytes)).toString('hex')
  }
}
