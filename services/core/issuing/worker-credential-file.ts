import { readAuthority } from '#fleet/certificate-parser.ts'
import type { Conversation, OpenedConversation } from '#fleet/conversation.ts'
import { type Credential, credentialPath, formatCredentialFile, parseInstant } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { type Side, sessionId } from '#fleet/session-id.ts'
import type { Store } from '#store/store.ts'
import type { GitPublisher } from './git-publisher.ts'

/** A conversation with both its tokens: what credentials are made from. */
export interface IssuedConversation extends Conversation {
  readonly tokens: OpenedConversation['tokens']
}

/** How the holder of a credential reaches the bridge. */
export type BridgeAccess = Pick<Credential, 'bridgeUrl' | 'bridgeCa'>

/** A credential of one end, as its host keeps it. */
export function credentialOf(issued: IssuedConversation, side: Side, access: BridgeAccess, madeAt: number): Credential {
  return {
    session: sessionId(issued.id, side),
    token: issued.tokens[side],
    agent: issued.agents[side],
    role: issued.roles[side],
    ...access,
    createdAt: madeAt,
    expiresAt: issued.expiresAt,
  }
}

/** The worker's file, as it is committed. */
export function workerFile(issued: IssuedConversation, access: BridgeAccess, madeAt: number): string {
  const { session: _, ...credential } = credentialOf(issued, 'b', access, madeAt)
  return formatCredentialFile({
    ...credential,
    conversation: issued.id,
    coordinatorToken: issued.tokens.a,
  })
}

/** What a committed file says of itself, as far as it can be read; nothing of it is trusted. */
export interface PublishedCredential {
  readonly conversation: string | null
  readonly bridgeUrl: string | null
  readonly bridgeCa: string | null
  readonly createdAt: number
  readonly expiresAt: number
}

export async function readPublished(publisher: GitPublisher, worker: number): Promise<PublishedCredential | null> {
  const content = await publisher.read(credentialPath(worker))
  if (content === null) return null
  try {
    const fields = JSON.parse(content.toString('utf8')) as Record<string, unknown>
    return {
      conversation: typeof fields.conversation_id === 'string' ? fields.conversation_id : null,
      bridgeUrl: typeof fields.bridge_url === 'string' ? fields.bridge_url : null,
      bridgeCa: typeof fields.bridge_ca === 'string' ? authorityOrNull(fields.bridge_ca) : null,
      createdAt: parseInstant(String(fields.created_at)) ?? 0,
      expiresAt: parseInstant(String(fields.expires_at)) ?? 0,
    }
  } catch {
    return { conversation: null, bridgeUrl: null, bridgeCa: null, createdAt: 0, expiresAt: 0 }
  }
}

function authorityOrNull(text: string): string | null {
  try {
    return readAuthority(text)
  } catch {
    return null
  }
}

/** The serial of a credential that replaces another one: the time, and never one that was there before. */
export function serialAfter(before: number | undefined, now: number): number {
  return Math.max(now, (before ?? 0) + 1)
}

/**
 * Both tokens of a live conversation, the worker's made anew: for when its file was lost or must be replaced. The one
 * before stays in force for overlapMs, so that nobody is locked out on the way.
 */
export async function renewTokens(
  store: Store,
  conversation: Conversation,
  overlapMs: number,
): Promise<IssuedConversation> {
  const [a] = await store.tokens(sessionId(conversation.id, 'a'))
  if (a === undefined) throw new S2Error('expired', `conversation ${conversation.id} has no token in force`)
  const b = await store.rotateToken(sessionId(conversation.id, 'b'), overlapMs)
  return { ...conversation, tokens: { a, b } }
}
