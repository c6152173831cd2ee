import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { S2Error } from '#fleet/errors.ts'
import { type Identity, PUBLIC_KEY, type PublicIdentity, RECIPIENT } from '#fleet/identity.ts'
import { WORKER_NAME } from '#fleet/worker.ts'
import { publish, publishOnce } from '#spool/atomic-files.ts'
import { parseObject, readPlainFile } from '#spool/plain-file.ts'
import { hasForm } from './has-form.ts'

/** The fleet that a host was invited to, and as what. */
export interface Membership {
  readonly agent: string
  /** The orchestrator's keys: whatever counts as coming from the fleet is signed by them. */
  readonly orchestrator: PublicIdentity
  /** The one bridge that credentials may name. */
  readonly bridgeUrl: string
  readonly remote: string | null
  readonly branch: string
}

/** A host's keys, and the fleet it belongs to; the orchestrator's own host belongs to none. */
export interface HostIdentity extends Identity {
  readonly membership: Membership | null
}

const FILE_MAX = 16_384

/** Where a host keeps its keys: in a folder of their own, which the other services of the host do not see. */
export function identityFile(state: string): string {
  return join(state, 'keys', 'identity.json')
}

/** New keys: Ed25519 to sign by, X25519 to receive. */
export async function makeIdentity(): Promise<Identity> {
  const { privateKey } = generateKeyPairSync('ed25519')
  const { x, d } = privateKey.export({ format: 'jwk' }) as { x: string; d: string }
  const ageKey = await generateX25519Identity()
  return { key: x, signingKey: d, recipient: await identityToRecipient(ageKey), ageKey }
}

/** The keys in this file; null where there is no file. Refuses a file that others may read, and one that is damaged: `invalid`. */
export async function readIdentity(path: string): Promise<HostIdentity | null> {
  const file = await readPlainFile(path, FILE_MAX).catch((error: Error) => {
    const { code } = (error.cause ?? {}) as NodeJS.ErrnoException
    throw unusable(path, error.message, code === 'EACCES' || code === 'EPERM' ? CALL_AS_OWNER : KEEP_IT)
  })
  if (file === null) return null
  if ((file.mode & 0o077) !== 0)
    throw unusable(path, `may be read by others (mode ${file.mode.toString(8)})`, `chmod 600 ${path}`)
  let fields: Readonly<Record<string, unknown>>
  try {
    fields = parseObject(file.text)
  } catch (error) {
    throw unusable(path, (error as Error).message)
  }
  const { key, signingKey, recipient, ageKey, membership = null } = fields as Partial<HostIdentity>
  const isSound =
    hasForm(key, PUBLIC_KEY) &&
    hasForm(signingKey, PUBLIC_KEY) &&
    hasForm(recipient, RECIPIENT) &&
    hasForm(ageKey, /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/) &&
    (membership === null || isMembership(membership))
  if (!isSound) throw unusable(path, 'does not hold the keys of a host', isMember(membership) ? INVITE_AGAIN : KEEP_IT)
  return { key, signingKey, recipient, ageKey, membership }
}

/** Keeps the keys durably, for the owner alone. */
export async function writeIdentity(path: string, identity: HostIdentity): Promise<void> {
  await publish(path, formatIdentity(identity), 0o600)
}

/** The same as a text, for a file that is handed to a host as a secret. */
export function formatIdentity(identity: HostIdentity): string {
  return `${JSON.stringify({ format: 's2-identity/1', ...identity }, null, 2)}\n`
}

/** The keys of this state folder, made now unless they are there; programs that need them at once get the same. */
export async function ensureIdentity(state: string): Promise<HostIdentity> {
  const path = identityFile(state)
  const known = await readIdentity(path)
  if (known !== null) return known
  const made: HostIdentity = { ...(await makeIdentity()), membership: null }
  if (await publishOnce(path, formatIdentity(made))) return made
  const others = await readIdentity(path)
  if (others !== null) return others
  throw unusable(path, 'was made and removed again by others')
}

/** Only then it is surely no orchestrator's host. */
function isMember(value: unknown): boolean {
  return typeof value === 'object' && value !== null && isMembership(value)
}

function isMembership(value: unknown): value is Membership {
  const { agent, orchestrator, bridgeUrl, remote, branch } = value as Partial<Membership>
  return (
    hasForm(agent, WORKER_NAME) &&
    hasForm(orchestrator?.key, PUBLIC_KEY) &&
    hasForm(orchestrator?.recipient, RECIPIENT) &&
    hasForm(bridgeUrl, /^https?:\/\/\S{1,300}$/) &&
    (remote === null || hasForm(remote, /^[^\0\n]{1,1000}$/)) &&
    hasForm(branch, /^\S{1,200}$/)
  )
}

const CALL_AS_OWNER =
  'call it as the user of the services, or as root (sudo), and of containers in issuer or cred-sync: the file itself is not at fault'
const INVITE_AGAIN = 'restore it from a backup, or remove it and have this host invited again: s2 worker invite'
/** It may be the orchestrator's, whose key is the one that all hosts of the fleet know. */
const KEEP_IT =
  "restore it from a backup, and remove it from no orchestrator's host: its key is the one that every worker knows. A worker's host without a backup moves it aside and is invited again: s2 worker invite"

function unusable(path: string, why: string, next = KEEP_IT): S2Error {
  return new S2Error('invalid', `the keys of this host cannot be used: ${path} ${why}`, { next })
}
