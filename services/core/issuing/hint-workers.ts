import type { Store } from '#store/store.ts'

/** To all their conversations: a credential of a new one comes to who is linked by the old one. */
export async function hintWorkers(store: Store, agents: readonly string[]): Promise<void> {
  const theirs = (await store.conversations()).filter(({ agents: { b } }) => agents.includes(b))
  if (theirs.length > 0) await store.hintCredentials(theirs.map(({ id }) => id))
}
