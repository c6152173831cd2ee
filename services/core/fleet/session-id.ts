import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'

/** In every conversation the orchestrator is side `a`, the worker side `b`. */
export type Side = 'a' | 'b'

/** The agent that hands out the work, unless a fleet names another; it is side `a` of every conversation. */
export const ORCHESTRATOR = 'orchestrator'

/** One side of a conversation, written `conv_0123456789abcdef/b`. */
export type SessionId = `${string}/${Side}`

/** The Python bridge makes ids of 16 hex digits; other writers of the shared database may not, so the rest is loose. */
const CONVERSATION = /^[A-Za-z0-9_-]{1,64}$/

export function isConversationId(text: string): boolean {
  return CONVERSATION.test(text)
}

export function sessionId(conversation: string, side: Side): SessionId {
  return `${conversation}/${side}`
}

export function isSessionId(text: string): text is SessionId {
  const cut = text.lastIndexOf('/')
  return cut > 0 && isConversationId(text.slice(0, cut)) && /^[ab]$/.test(text.slice(cut + 1))
}

/** Splits a session id. Throws `invalid` for anything else. */
export function parseSession(text: string): { conversation: string; side: Side } {
  if (!isSessionId(text)) {
    throw new S2Error('invalid', `not a session id: ${JSON.stringify(textHead(text, 80))}`, {
      next: 'write it as conversation/side, for example conv_0123456789abcdef/b',
    })
  }
  return { conversation: conversationOf(text), side: sideOf(text) }
}

export function conversationOf(session: SessionId): string {
  return session.slice(0, session.lastIndexOf('/'))
}

export function sideOf(session: SessionId): Side {
  return session.endsWith('/a') ? 'a' : 'b'
}

/** The other session of the same conversation. */
export function partnerOf(session: SessionId): SessionId {
  return sessionId(conversationOf(session), sideOf(session) === 'a' ? 'b' : 'a')
}

/**
 * A session that only reads, for dashboards and metrics. Its conversation says so by its id, so that no question about it costs
 * anything, and no mistake elsewhere can give it more.
 */
export function isObserver(session: string): boolean {
  return session.startsWith(OBSERVER_PREFIX)
}

/** How ids of conversations begin: those of workers, and those of observers. */
export const CONVERSATION_PREFIX = 'conv_'
export const OBSERVER_PREFIX = 'observer_'
