import { createHash } from 'node:crypto'
import { S2Error } from '#fleet/errors.ts'
import { areSignedBy, type Identity, PUBLIC_KEY, signFields } from '#fleet/identity.ts'
import { parseObject } from '#spool/plain-file.ts'

/** One published credential, as the manifest names it. */
export interface ManifestEntry {
  readonly path: string
  /** The public key of the host it is for: a host finds its file by this, whatever its worker is called now. */
  readonly key: string
  readonly serial: number
  /** SHA-256 of the whole file, in hexadecimal. */
  readonly sha256: string
}

/** All published credentials of a fleet, signed as a whole: a file that is missing or foreign shows. */
export interface Manifest {
  readonly serial: number
  readonly files: readonly ManifestEntry[]
}

export const MANIFEST_PATH = 'credentials/manifest.json'
/** A manifest of a thousand workers has some 250 kB. */
export const MANIFEST_MAX = 1_048_576
const FORMAT = 's2-manifest/1'

export function formatManifest(manifest: Manifest, orchestrator: Pick<Identity, 'key' | 'signingKey'>): string {
  const fields = signedFields(manifest)
  return `${JSON.stringify({ ...fields, signature: signFields(orchestrator, FORMAT, fields) }, null, 1)}\n`
}

/** Verifies a manifest. Throws `invalid`, or `unauthenticated` where this key did not sign it. */
export function readManifest(content: Uint8Array, orchestratorKey: string): Manifest {
  let given: Readonly<Record<string, unknown>>
  try {
    given = parseObject(new TextDecoder('utf-8', { fatal: true }).decode(content))
  } catch {
    throw refused('invalid', 'cannot be read')
  }
  const { format, serial, files, signature } = given
  if (format !== FORMAT || !Array.isArray(files) || !files.every(isEntry) || !Number.isSafeInteger(serial))
    throw refused('invalid', `is none of the form ${FORMAT}`)
  const manifest = { serial: serial as number, files }
  if (!areSignedBy(orchestratorKey, FORMAT, signedFields(manifest), String(signature)))
    throw refused('unauthenticated', 'is not signed by the orchestrator of this fleet')
  return manifest
}

export function entryFor(path: string, key: string, serial: number, content: string): ManifestEntry {
  return { path, key, serial, sha256: sha256Of(content) }
}

export function sha256Of(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}

function signedFields({ serial, files }: Manifest) {
  const sorted = files
    .map((each) => ({ path: each.path, key: each.key, serial: each.serial, sha256: each.sha256 }))
    .sort((one, other) => (one.path < other.path ? -1 : 1))
  return { format: FORMAT, serial, files: sorted }
}

function isEntry(value: unknown): value is ManifestEntry {
  if (typeof value !== 'object' || value === null) return false
  const { path, key, serial, sha256 } = value as Partial<Record<keyof ManifestEntry, unknown>>
  return (
    typeof path === 'string' &&
    /^credentials\/[a-z0-9-]{1,80}\.json$/.test(path) &&
    typeof key === 'string' &&
    PUBLIC_KEY.test(key) &&
    Number.isSafeInteger(serial) &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(sha256)
  )
}

function refused(code: 'invalid' | 'unauthenticated', why: string): S2Error {
  return new S2Error(code, `the list of credentials (${MANIFEST_PATH}) ${why}`, {
    next: 'see who writes to the remote; the credential in force stays',
  })
}
