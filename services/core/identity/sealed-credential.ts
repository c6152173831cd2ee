import { CREDENTIAL_FILE_MAX, type Credential, parseCredentialFile } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { areSignedBy, type Identity, type PublicIdentity, signFields } from '#fleet/identity.ts'
import { conversationOf } from '#fleet/session-id.ts'
import { parseObject } from '#spool/plain-file.ts'
import { seal, unseal } from './age-seal.ts'
import type { HostIdentity } from './identity-file.ts'

/**
 * A worker's credential as it is published: anybody may see the file and copy it. Its content is sealed to the worker's host
 * alone, and the whole is signed by the orchestrator, so that a reader verifies before it decrypts.
 */
interface SealedCredential {
  readonly format: typeof FORMAT
  readonly worker: string
  /** The time at which it was made, milliseconds since 1970; a reader never goes back to an earlier one. */
  readonly serial: number
  readonly issued: string
  readonly recipient: string
  readonly sealed: string
}

const FORMAT = 's2-credential/2'

/** How far the clocks of two hosts may differ before a credential counts as one from the future. */
export const CLOCK_TOLERANCE_MS = 600_000

/** The published form of a credential for a worker with these keys. `credential.createdAt` is its serial. */
export async function sealCredential(
  credential: Credential,
  recipient: string,
  orchestrator: Pick<Identity, 'key' | 'signingKey'>,
): Promise<string> {
  const { agent, createdAt } = credential
  const fields = signedFields({
    worker: agent,
    serial: createdAt,
    issued: new Date(createdAt).toISOString(),
    recipient,
    sealed: await seal(contentOf(credential), recipient),
  })
  const signature = signFields(orchestrator, FORMAT, fields)
  return `${JSON.stringify({ ...fields, signature }, null, 2)}\n`
}

/** What a reader of sealed credentials knows. */
export interface SealedReader {
  readonly identity: HostIdentity
  /** Wall clock, milliseconds. */
  readonly now: number
  /** The serial of the credential in force; 0: none. */
  readonly heldSerial: number
}

/**
 * Verifies and opens a published credential. Throws, and never shows what the file holds: `too_large`; `invalid` for what
 * is no such file, comes from the future, or names no session; `unauthenticated` where it is not signed by the orchestrator; `forbidden` where it is sealed to
 * another host or names another bridge than the pinned one; `conflict` where it is older than the one in force; `expired`.
 */
export async function openSealedCredential(
  content: Uint8Array,
  { identity, now, heldSerial }: SealedReader,
): Promise<Credential> {
  const { membership } = identity
  if (membership === null)
    throw refused('forbidden', 'is for a worker, and this host is none', 'join the fleet: s2 worker join')
  if (content.length > CREDENTIAL_FILE_MAX)
    throw refused('too_large', `has ${content.length} bytes; ${CREDENTIAL_FILE_MAX} are allowed`)
  const fields = verified(content, membership.orchestrator)
  if (fields.recipient !== identity.recipient)
    throw refused('forbidden', 'is sealed to another host than this one', INVITE_AGAIN)
  checkSerial(fields.serial, heldSerial, now)
  const text = await unseal(fields.sealed, identity.ageKey)
  if (text === null) throw refused('invalid', 'cannot be opened with the key of this host', INVITE_AGAIN)
  const credential = parseCredentialFile(Buffer.from(text), fields.worker, now)
  if (credential.createdAt !== fields.serial) throw refused('invalid', 'has another serial within than without')
  if (credential.bridgeUrl !== new URL(membership.bridgeUrl).origin) {
    throw refused(
      'forbidden',
      `names the bridge ${credential.bridgeUrl}, and this host was invited to ${membership.bridgeUrl}`,
      INVITE_AGAIN,
    )
  }
  return credential
}

/** What was found is genuine, and of before the one in force. */
export class OlderCredential extends S2Error {}

/** Refuses a serial that is older than the one held, or that lies in the future. */
export function checkSerial(serial: number, heldSerial: number, now: number): void {
  if (serial < heldSerial) {
    throw new OlderCredential(
      'conflict',
      `the credential is of ${timeOf(serial)}, older than the one in force of ${timeOf(heldSerial)}`,
      { next: 'publish a new one; an old one is never taken again' },
    )
  }
  if (serial > now + CLOCK_TOLERANCE_MS) {
    throw refused(
      'invalid',
      `is of ${timeOf(serial)}, which is in the future`,
      'compare the clocks of this host and of the orchestrator’s: timedatectl',
    )
  }
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}

const INVITE_AGAIN = 'let the orchestrator invite this host again: s2 worker invite'

function verified(content: Uint8Array, orchestrator: PublicIdentity): SealedCredential {
  const { signature, ...given } = parsedObject(content)
  const fields = signedFields(given as Omit<SealedCredential, 'format'>)
  if (given.format !== FORMAT) throw refused('invalid', `is no sealed credential (${FORMAT})`)
  if (!areSignedBy(orchestrator.key, FORMAT, fields, String(signature)))
    throw refused(
      'unauthenticated',
      'is not signed by the orchestrator of this fleet',
      'see who writes to the remote; the credential in force stays',
    )
  if (!Number.isSafeInteger(fields.serial) || fields.serial <= 0)
    throw refused('invalid', 'has a serial that is no time')
  return fields
}

function parsedObject(content: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    return parseObject(new TextDecoder('utf-8', { fatal: true }).decode(content))
  } catch (error) {
    throw refused('invalid', error instanceof S2Error ? error.message : 'is not UTF-8')
  }
}

/** The signed fields, in the order in which they are signed. */
function signedFields({
  worker,
  serial,
  issued,
  recipient,
  sealed,
}: Omit<SealedCredential, 'format'>): SealedCredential {
  return { format: FORMAT, worker, serial, issued, recipient, sealed }
}

/** What only the worker's host reads: the names of fields are those of the older files. */
function contentOf({
  session,
  token,
  agent,
  role,
  bridgeUrl,
  bridgeCa,
  bridgePin,
  createdAt,
  expiresAt,
}: Credential): string {
  return JSON.stringify({
    conversation_id: conversationOf(session),
    worker_id: agent,
    worker_role: role,
    worker_token: token,
    created_at: new Date(createdAt).toISOString(),
    expires_at: new Date(expiresAt).toISOString(),
    bridge_url: bridgeUrl,
    ...(bridgeCa === undefined ? {} : { bridge_ca: bridgeCa }),
    ...(bridgePin === undefined ? {} : { bridge_pin: bridgePin }),
  })
}

function refused(
  code: 'invalid' | 'unauthenticated' | 'forbidden' | 'conflict' | 'too_large',
  why: string,
  next = 'have the orchestrator publish this worker’s credential anew',
): S2Error {
  return new S2Error(code, `the credential ${why}`, { next })
}
