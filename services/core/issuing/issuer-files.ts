import { join } from 'node:path'
import type { Credential } from '#fleet/credential.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { publish } from '#spool/atomic-files.ts'
import { publishCredential, readCredentials, removeCredential } from '#spool/credentials.ts'
import { readPlainFile } from '#spool/plain-file.ts'

/** What an issuer keeps on the orchestrator's host. Its state folder is one place for it; so is a simulated one. */
export interface IssuerFiles {
  /** The orchestrator's ends of conversations. */
  ownEnds(): Promise<readonly Credential[]>
  publishOwnEnd(credential: Credential): Promise<void>
  removeOwnEnd(session: SessionId): Promise<void>
  /** Which way to the bridge the credentials name that were made last, as a fingerprint; null: none were made here. */
  readAccess(): Promise<string | null>
  writeAccess(fingerprint: string): Promise<void>
}

export function filesInState(state: string): IssuerFiles {
  const access = join(state, 'issued-access')
  return {
    ownEnds: async () => (await readCredentials(state)).credentials,
    publishOwnEnd: (credential) => publishCredential(state, credential),
    removeOwnEnd: (session) => removeCredential(state, session),
    readAccess: async () => (await readPlainFile(access, 100).catch(() => null))?.text.trim() ?? null,
    writeAccess: (fingerprint) => publish(access, `${fingerprint}\n`),
  }
}
