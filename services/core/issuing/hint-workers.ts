import type { CommandContext } from '#console/context.ts'
import { type ReachedFleet, reachFleet } from '#console/store-access.ts'
import { S2Error } from '#fleet/errors.ts'
import { closest } from '#runtime/config.ts'
import type { Store } from '#store/store.ts'

/** Tells every worker, or those named, to ask git now: for a hook of the remote, and for who pushes by other means than s2. */
export async function hint(
  shell: CommandContext,
  agents: readonly string[],
  { json }: { readonly json?: true },
): Promise<void> {
  await using reached = await reachFleet(shell)
  if (reached.unserved) {
    throw new S2Error('unavailable', 'nobody was told: no bridge runs on this host', {
      next: 'start the bridge; until then workers ask git when it is their time (S2_GIT_POLL)',
    })
  }
  const workers = new Set((await reached.store.conversations()).map(({ agents: { b } }) => b))
  const stranger = agents.find((agent) => !workers.has(agent))
  if (stranger !== undefined) {
    const near = closest(stranger, [...workers])
    throw new S2Error('not_found', `nobody was told: there is no worker ${JSON.stringify(stranger)}`, {
      next: near === undefined ? '`s2 conversation list` shows who there is' : `did you mean ${near}?`,
    })
  }
  const hinted = agents.length === 0 ? [...workers] : agents
  await hintWorkers(reached.store, hinted)
  if (json === true) shell.print(`${JSON.stringify({ hinted })}\n`)
  else shell.print(hinted.length === 0 ? 'there are no workers\n' : `told to ask git now: ${hinted.join(', ')}\n`)
}

/** After a push: what cannot be told now the polls find, so it is no failure. */
export async function hintAfterPush(
  shell: CommandContext,
  { store, unserved }: ReachedFleet,
  agent: string,
): Promise<void> {
  if (unserved) return
  await hintWorkers(store, [agent]).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    shell.tell(`s2: ${agent} could not be told to ask git now, and does so when it is time: ${why}\n`)
  })
}

/** To all their conversations: a credential of a new one comes to who is linked by the old one. */
export async function hintWorkers(store: Store, agents: readonly string[]): Promise<void> {
  const theirs = (await store.conversations()).filter(({ agents: { b } }) => agents.includes(b))
  if (theirs.length > 0) await store.hintCredentials(theirs.map(({ id }) => id))
}
