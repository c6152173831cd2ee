import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sideOf } from '#fleet/session-id.ts'
import type { BridgeTrust } from './bridge-trust.ts'
import type { Key } from './http-client.ts'
import { VERBS, type VerbName } from './wire-schema.ts'

/**
 * The tokens of this host's sessions, and what it trusts at the bridge. Looked up at every call, so that what changed counts
 * at once.
 */
export interface Keyring extends Partial<BridgeTrust> {
  token(session: SessionId): string | undefined
  sessions(): readonly SessionId[]
  /** Whether plain http may leave this machine. */
  readonly allowsPlain?: boolean
}

/** The keyring of one credential alone, whatever else this host has. */
export function keyringOf({ session, token, bridgeCa, bridgePin }: Credential): Keyring {
  return {
    token: (of) => (of === session ? token : undefined),
    sessions: () => [session],
    authority: () => bridgeCa,
    pin: () => bridgePin,
  }
}

/** The key to sign a request with: that of one of the `speakers`, the best first, or where any session may ask, of another. */
export function keyFor(keyring: Keyring, verb: VerbName, speakers: readonly SessionId[]): Key {
  const own = speakers.length > 0 && VERBS[verb].who === 'session'
  const sessions = own ? speakers : [...speakers, ...[...keyring.sessions()].sort(leadersFirst)]
  for (const session of sessions) {
    const token = keyring.token(session)
    if (token !== undefined) return { session, token }
  }
  throw new S2Error(
    'unauthenticated',
    `there is no credential at hand ${own ? `for ${speakers[0]}` : 'to sign with'}`,
    {
      next: 'get one from the orchestrator; cred-sync brings it, and `s2 status` shows what is there',
    },
  )
}

function leadersFirst(one: SessionId, other: SessionId): number {
  return sideOf(one).localeCompare(sideOf(other))
}
