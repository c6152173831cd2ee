import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { type Keyring, keyringOf } from '#store/remote/keyring.ts'
import type { Store } from '#store/store.ts'

export interface CredentialTrialParts {
  readonly clock: Clock
  readonly signal: AbortSignal
  open(url: string, keyring: Keyring): Store
}

/** How long the bridge may take to say whether it knows a credential. */
const PROOF_MS = 5_000

/**
 * Asks the bridge for something with this credential and no other. Throws what the bridge says against it, or `unavailable` when
 * the bridge does not answer in time.
 */
export async function tryCredential(
  credential: Credential,
  { clock, signal, open }: CredentialTrialParts,
): Promise<void> {
  await using store = open(credential.bridgeUrl, keyringOf(credential))
  const answer = await waitAtMost(store.unacked(credential.session, 0, 1), PROOF_MS, clock, signal)
  if (answer === LATE) throw new S2Error('unavailable', `the bridge has not answered within ${PROOF_MS} ms`)
}
