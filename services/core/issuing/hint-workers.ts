import type { CommandContext } from '#console/context.ts'
import type { ReachedFleet } from '#console/store-access.ts'
import type { Store } from '#store/store.ts'

/** After a push: what cannot be told now the polls find, so it is no failure. */
export async function hintAfterPush(
  context: CommandContext,
  { store, unserved }: ReachedFleet,
  agent: string,
): Promise<void> {
  if (unserved) return
  await hintWorkers(store, [agent]).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    context.tell(`s2: ${agent} could not be told to ask git now, and does so when it is time: ${why}\n`)
  })
}

/** To all their conversations: a credential of a new one comes to who is linked by the old one. */
export async function hintWorkers(store: Store, agents: readonly string[]): Promise<void> {
  const theirs = (await store.conversations()).filter(({ agents: { b } }) => agents.includes(b))
  if (theirs.length > 0) await store.hintCredentials(theirs.map(({ id }) => id))
}
