import type { Conversation } from '#fleet/conversation.ts'
import type { Store } from '#store/store.ts'

/**
 * Tells these workers that there is a credential for them. To all their conversations: a credential of a new one comes to who is
 * linked by the old one. A hint that is lost costs time only, since the polls of the workers find it too.
 */
export async function hintWorkers(
  store: Pick<Store, 'hintCredentials'>,
  conversations: Iterable<Conversation>,
  agents: readonly string[],
): Promise<void> {
  const theirs = [...conversations].filter(({ agents: { b } }) => agents.includes(b))
  if (theirs.length > 0) await store.hintCredentials(theirs.map(({ id }) => id))
}
