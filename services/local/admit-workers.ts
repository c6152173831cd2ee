import { ORCHESTRATOR } from '#fleet/session-id.ts'
import {
  ensureIdentity,
  identityFile,
  type Membership,
  makeIdentity,
  readIdentity,
  writeIdentity,
} from '#identity/identity-file.ts'
import type { Store } from '#store/store.ts'
import type { Fleet } from './parse-fleet-description.ts'
import { bridgeUrlOf, remoteOf, stateOf } from './process-plan.ts'

export interface AdmitWorkersParts {
  readonly fleet: Fleet
  /** The fleet's state folder. */
  readonly state: string
  readonly lifetimeMs: number
  readonly store: Store
}

/**
 * Gives each worker of the fleet keys of its own, in its state folder, and admits it by them: what an invitation does between
 * two hosts. Answers the workers that were revoked, which stay out.
 */
export async function admitWorkers({ fleet, state, lifetimeMs, store }: AdmitWorkersParts): Promise<string[]> {
  const { key, recipient } = await ensureIdentity(state)
  const revoked = new Set(
    (await store.workers()).filter(({ revokedAt }) => revokedAt !== null).map(({ agent }) => agent),
  )
  for (const { agent, role } of fleet.workers) {
    if (revoked.has(agent)) continue
    const membership: Membership = {
      agent,
      orchestrator: { key, recipient },
      bridgeUrl: bridgeUrlOf(fleet),
      remote: remoteOf(fleet, state),
      branch: fleet.branch,
    }
    const keys = await keepKeys(identityFile(stateOf(agent, state)), membership)
    await store.admitWorker({
      agent,
      role,
      key: keys.key,
      recipient: keys.recipient,
      host: agent,
      secretHash: null,
      orchestrator: ORCHESTRATOR,
      lifetimeMs,
    })
  }
  return fleet.workers.map(({ agent }) => agent).filter((agent) => revoked.has(agent))
}

/** The keys of a worker, made where there are none; what it knows of the fleet is brought up to date. */
async function keepKeys(path: string, membership: Membership) {
  const known = await readIdentity(path)
  const identity = { ...(known ?? (await makeIdentity())), membership }
  if (known === null || JSON.stringify(known.membership) !== JSON.stringify(membership))
    await writeIdentity(path, identity)
  return identity
}
