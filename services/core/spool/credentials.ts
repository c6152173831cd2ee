import { join } from 'node:path'
import { CREDENTIAL_FILE_MAX, type Credential, parseInstant } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { parseSession, sessionId } from '#fleet/session.ts'
import { publish } from './atomic.ts'
import { isRecord, names, readJson } from './files.ts'

/** Where the credentials of this host lie, one file a session, for its owner's eyes only. */
export function credentialsFolder(state: string): string {
  return join(state, 'credentials')
}

export function credentialFile(state: string, credential: Pick<Credential, 'session'>): string {
  return join(credentialsFolder(state), `${credential.session.replace('/', '-')}.json`)
}

/** Puts a credential in force by one atomic rename, mode 0600. */
export async function publishCredential(state: string, credential: Credential): Promise<void> {
  const fields = {
    session: credential.session,
    token: credential.token,
    agent: credential.agent,
    role: credential.role,
    bridge_url: credential.bridgeUrl,
    created_at: new Date(credential.createdAt).toISOString(),
    expires_at: new Date(credential.expiresAt).toISOString(),
  }
  await publish(credentialFile(state, credential), `${JSON.stringify(fields, null, 2)}\n`)
}

/**
 * The credentials of a host, and why others were not taken. One whose time is over is still read: its conversation may
 * have been renewed, and only the bridge knows.
 */
export async function readCredentials(state: string): Promise<{ credentials: Credential[]; faults: string[] }> {
  const credentials: Credential[] = []
  const faults: string[] = []
  const folder = credentialsFolder(state)
  for (const name of await names(folder)) {
    if (!name.endsWith('.json')) continue
    try {
      const value = await readJson(join(folder, name), CREDENTIAL_FILE_MAX, 0o077)
      if (value !== null) credentials.push(parse(value, join(folder, name)))
    } catch (error) {
      if (!(error instanceof S2Error)) throw error
      faults.push(error.next === undefined ? error.message : `${error.message}; ${error.next}`)
    }
  }
  return { credentials, faults }
}

function parse(value: unknown, path: string): Credential {
  const text = (field: string): string => {
    const found = isRecord(value) && Object.hasOwn(value, field) ? value[field] : undefined
    if (typeof found !== 'string' || found === '') throw new S2Error('invalid', `${path} has no ${field}`)
    return found
  }
  const instant = (field: string): number => {
    const ms = parseInstant(text(field))
    if (ms === null) throw new S2Error('invalid', `${path} has a ${field} that is no time`)
    return ms
  }
  const { conversation, side } = parseSession(text('session'))
  const bridgeUrl = text('bridge_url')
  if (!URL.canParse(bridgeUrl) || !/^https?:$/.test(new URL(bridgeUrl).protocol)) {
    throw new S2Error('invalid', `${path} has a bridge_url that is no http or https address`)
  }
  return {
    session: sessionId(conversation, side),
    token: text('token'),
    agent: text('agent'),
    role: text('role'),
    bridgeUrl,
    createdAt: instant('created_at'),
    expiresAt: instant('expires_at'),
  }
}
