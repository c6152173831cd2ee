import { readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { readAuthority } from '#fleet/certificate-parser.ts'
import { CREDENTIAL_FILE_MAX, type Credential, isPin } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { parseSession, type SessionId, type Side, sessionId } from '#fleet/session-id.ts'
import { syncPath } from '#runtime/durable-folder.ts'
import { publish } from './atomic-files.ts'
import { diskError, invalid, parseObject, readPlainFile } from './plain-file.ts'

/** What the credentials folder of a host holds. */
export interface FoundCredentials {
  readonly credentials: readonly Credential[]
  /** A sentence for each file that was not taken. */
  readonly faults: readonly string[]
  /** The sessions after which those files are named: one is there for them, whatever it holds. */
  readonly doubtful: readonly SessionId[]
  /** False where there is no such folder. */
  readonly exists: boolean
}

export function credentialsFolder(state: string): string {
  return join(state, 'credentials')
}

/** Puts a credential in force on this host, in one atomic step: file of its session, for its owner alone. */
export async function publishCredential(state: string, credential: Credential): Promise<void> {
  try {
    await publish(credentialFile(state, credential.session), `${JSON.stringify(credential, null, 2)}\n`, 0o600)
  } catch (error) {
    throw diskError(`publishing the credential of ${credential.session}`, error)
  }
}

/** Takes a session's credential out of force on this host, for good. */
export async function removeCredential(state: string, session: SessionId): Promise<void> {
  for (const path of [credentialFile(state, session), renewalFile(state, session)]) {
    await unlink(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw diskError(`removing the credential of ${session}`, error)
    })
  }
  await syncPath(credentialsFolder(state)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw diskError(`removing the credential of ${session}`, error)
  })
}

/**
 * Notes that a conversation was renewed, so that its credential counts until the new end also for who reads it later. Kept in a
 * file of its own beside the credential: whoever publishes credentials never meets whoever renews.
 */
export async function noteRenewal(state: string, session: SessionId, expiresAt: number): Promise<void> {
  try {
    await publish(renewalFile(state, session), `${JSON.stringify({ expiresAt })}\n`, 0o600)
  } catch (error) {
    throw diskError(`noting the renewal of ${session}`, error)
  }
}

/**
 * Reads the credentials of this host, by session. Links, files that others may read, and malformed ones are refused, and so
 * are expired ones where `now` (wall clock) is given. Each refusal is a fault, and never shows what the file holds.
 */
export async function readCredentials(state: string, now?: number): Promise<FoundCredentials> {
  const credentials: Credential[] = []
  const faults: string[] = []
  const doubtful: SessionId[] = []
  const names = await credentialNames(state)
  for (const name of names ?? []) {
    try {
      const credential = await readCredential(state, name)
      if (credential === null) continue
      if (now !== undefined && credential.expiresAt <= now) {
        throw invalid(`expired at ${new Date(credential.expiresAt).toISOString()}`)
      }
      credentials.push(credential)
    } catch (error) {
      const session = sessionOf(name)
      if (session !== null) doubtful.push(session)
      faults.push(`credentials/${name.replaceAll(/[^\w.-]/g, '?').slice(0, 100)} ${(error as Error).message}`)
    }
  }
  return { credentials, faults, doubtful, exists: names !== null }
}

const ENDING = '.json'

/** Null where there is no folder. */
async function credentialNames(state: string): Promise<string[] | null> {
  try {
    const names = await readdir(credentialsFolder(state))
    return names.filter((name) => name.endsWith(ENDING) && !name.startsWith('.')).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw diskError('looking into credentials', error)
  }
}

async function readCredential(state: string, name: string): Promise<Credential | null> {
  const file = await readPlainFile(join(credentialsFolder(state), name), CREDENTIAL_FILE_MAX)
  if (file === null) return null
  if ((file.mode & 0o077) !== 0) throw invalid(`may be read by others (mode ${file.mode.toString(8)}): chmod 600 it`)
  const credential = parseCredential(parseObject(file.text))
  if (name !== fileName(credential.session, ENDING)) throw invalid('is not named after its session')
  return { ...credential, expiresAt: Math.max(credential.expiresAt, await renewedUntil(state, credential.session)) }
}

async function renewedUntil(state: string, session: SessionId): Promise<number> {
  try {
    const file = await readPlainFile(renewalFile(state, session), CREDENTIAL_FILE_MAX)
    const expiresAt = file === null ? 0 : parseObject(file.text).expiresAt
    return typeof expiresAt === 'number' && Number.isFinite(expiresAt) ? expiresAt : 0
  } catch {
    return 0 // what is unreadable there puts no credential out of force
  }
}

function parseCredential(fields: Readonly<Record<string, unknown>>): Credential {
  const session = text(fields, 'session')
  try {
    parseSession(session)
  } catch (error) {
    throw new S2Error('invalid', 'names no session', { cause: error })
  }
  return {
    session: session as SessionId,
    token: token(fields),
    agent: text(fields, 'agent'),
    role: text(fields, 'role'),
    bridgeUrl: bridgeUrl(fields),
    ...bridgeCa(fields),
    ...bridgePin(fields),
    createdAt: instant(fields, 'createdAt'),
    expiresAt: instant(fields, 'expiresAt'),
  }
}

function text(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (typeof value !== 'string' || value === '' || value.length > 400) throw invalid(`has no ${name}`)
  return value
}

function token(fields: Readonly<Record<string, unknown>>): string {
  const value = fields.token
  if (typeof value !== 'string' || !/^[\x21-\x7e]{16,512}$/.test(value)) throw invalid('has no usable token')
  return value
}

function bridgeUrl(fields: Readonly<Record<string, unknown>>): string {
  const value = text(fields, 'bridgeUrl')
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol))
    throw invalid('has no http or https bridgeUrl')
  return value
}

function bridgeCa({ bridgeCa: value }: Readonly<Record<string, unknown>>): { readonly bridgeCa?: string } {
  if (value === undefined) return {}
  if (typeof value !== 'string') throw invalid('has a bridgeCa that is no text')
  try {
    return { bridgeCa: readAuthority(value) }
  } catch (error) {
    throw invalid(`has a bridgeCa that ${(error as Error).message}`)
  }
}

function bridgePin({ bridgePin: value }: Readonly<Record<string, unknown>>): { readonly bridgePin?: string } {
  if (value === undefined) return {}
  if (!isPin(value)) throw invalid('has a bridgePin that is no SHA-256 in base64')
  return { bridgePin: value }
}

function instant(fields: Readonly<Record<string, unknown>>, name: string): number {
  const value = fields[name]
  if (typeof value !== 'number' || !Number.isFinite(value)) throw invalid(`has no ${name}`)
  return value
}

function credentialFile(state: string, session: SessionId): string {
  return join(credentialsFolder(state), fileName(session, ENDING))
}

function renewalFile(state: string, session: SessionId): string {
  return join(credentialsFolder(state), fileName(session, '.renewed'))
}

function sessionOf(name: string): SessionId | null {
  const match = /^([A-Za-z0-9_-]{1,64})-([ab])\.json$/.exec(name)
  return match === null ? null : sessionId(match[1] as string, match[2] as Side)
}

function fileName(session: SessionId, ending: string): string {
  return `${session.replace('/', '-')}${ending}`
}
