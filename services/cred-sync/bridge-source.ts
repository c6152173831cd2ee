import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { fetchPublished } from '#identity/bridge-mailbox.ts'
import { openSealedCredential } from '#identity/sealed-credential.ts'
import type { Clock } from '#runtime/clock.ts'
import type { CredentialSource, SourceQuery } from './credential-source.ts'

/** The credential that the bridge keeps for this host: for hosts that reach it and no git remote. */
export class BridgeSource implements CredentialSource {
  readonly #clock: Clock
  readonly #signal: AbortSignal

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock
    this.#signal = signal
  }

  async find({ identity, heldSerial }: SourceQuery): Promise<Credential | null> {
    const { membership, key } = identity
    if (membership === null) return null
    const file = await fetchPublished(membership.bridgeUrl, key, this.#clock, this.#signal)
    if (file === null)
      throw new S2Error(
        'not_found',
        `the bridge at ${membership.bridgeUrl} has no credential for the key of this host`,
        {
          next: '`s2 worker list` on the orchestrator’s host shows whether it was admitted or revoked',
        },
      )
    return await openSealedCredential(Buffer.from(file), { identity, heldSerial, now: this.#clock.wall() })
  }
}
