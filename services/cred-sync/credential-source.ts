import type { Credential } from '#fleet/credential.ts'
import type { HostIdentity } from '#identity/identity-file.ts'

/** What a source of credentials has to know. */
export interface SourceQuery {
  readonly identity: HostIdentity
  /** The serial of the credential in force; 0: none. */
  readonly heldSerial: number
}

/** A place where this host's credential may be found. */
export interface CredentialSource {
  /**
   * The credential there, verified; null where nothing has changed since it was found there. Throws why there is none: what
   * may pass by itself as `unavailable`.
   */
  find(wanted: SourceQuery): Promise<Credential | null>
}
