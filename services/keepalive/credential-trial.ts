import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Keyring } from '#store/remote/keyring.ts'
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
  { session, token, bridgeUrl, bridgeCa, bridgePin }: Credential,
  { clock, signal, open }: CredentialTrialParts,
): Promise<void> {
  const keyring: Keyring = {
    token: (of: SessionId) => (of === session ? token : undefined),
    sessions: () => [session],
    authority: () => bridgeCa,
    pin: () => bridgePin,
  }
  await using store = open(bridgeUrl, keyring)
  const answer = await waitAtMost(store.unacked(session, 0, 1), PROOF_MS, clock, signal)
  if (answer === LATE) throw new S2Error('unavailable', `the bridge has not answered within ${PROOF_MS} ms`)
}
