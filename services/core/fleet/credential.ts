import { createHash } from 'node:crypto'
import { readAuthority } from './certificate-parser.ts'
import { textHead } from './cut-text.ts'
import { S2Error } from './errors.ts'
import { isConversationId, type SessionId, sessionId } from './session-id.ts'

/** What a session needs to authenticate. Times are milliseconds since 1970, UTC. */
export interface Credential {
  readonly session: SessionId
  readonly token: string
  /** The agent's name, e.g. `s2-worker-3`. */
  readonly agent: string
  readonly role: string
  readonly bridgeUrl: string
  /** PEM of the authority that signed the bridge's certificate; absent where other machines trust it already. */
  readonly bridgeCa?: string
  /** SHA-256 of the public key (SPKI) of the bridge's certificate, in base64; absent where any key of that authority will do. */
  readonly bridgePin?: string
  /** Also its serial number: an earlier credential never replaces a later one. */
  readonly createdAt: number
  readonly expiresAt: number
}

/** What is told or kept of a secret that shall not be shown: SHA-256, in base64url. */
export function hashOfSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url')
}

/** Whether two credentials lead to the bridge in the same way. */
export function isSameAccess(one: BridgeAccess, other: BridgeAccess): boolean {
  return one.bridgeUrl === other.bridgeUrl && one.bridgeCa === other.bridgeCa && one.bridgePin === other.bridgePin
}

/** Whether two credentials of one session are one: the serial rises with all else that may change. */
export function isSameCredential(one: Credential, other: Credential): boolean {
  return one.token === other.token && one.createdAt === other.createdAt && isSameAccess(one, other)
}

/** How the holder of a credential reaches the bridge. */
export type BridgeAccess = Pick<Credential, 'bridgeUrl' | 'bridgeCa' | 'bridgePin'>

/** Larger credential files are not read, bytes. */
export const CREDENTIAL_FILE_MAX = 65_536

/** Where the credential of a worker lies in the remote. */
export function credentialPath(agent: string): string {
  return `credentials/${agent}-credentials.json`
}

export function workerName(worker: number): string {
  return `s2-worker-${worker}`
}

/**
 * The authority to trust at a bridge's address: that of the newest credential for it, since older ones may be from before the
 * bridge's certificate changed. Undefined: those that this machine trusts.
 */
export function authorityAt(bridgeUrl: string, credentials: Iterable<Credential>): string | undefined {
  return newestAt(bridgeUrl, credentials)?.bridgeCa
}

/** The key that the bridge's certificate must have, of the same credential. */
export function pinAt(bridgeUrl: string, credentials: Iterable<Credential>): string | undefined {
  return newestAt(bridgeUrl, credentials)?.bridgePin
}

/** Whether a text can be a `bridgePin`. */
export function isPin(text: unknown): text is string {
  return typeof text === 'string' && /^[A-Za-z0-9+/]{43}=$/.test(text)
}

function newestAt(bridgeUrl: string, credentials: Iterable<Credential>): Credential | undefined {
  const { origin } = new URL(bridgeUrl)
  let newest: Credential | undefined
  for (const each of credentials) {
    if (new URL(each.bridgeUrl).origin !== origin) continue
    if (newest === undefined || each.createdAt >= newest.createdAt) newest = each
  }
  return newest
}

/**
 * Reads the fields of the older scripts' credential files as the credential of this worker, or throws `invalid`, `forbidden`
 * (another worker's, or no credential of a fleet at all), `expired`, `too_large`, never showing what it holds. `now` is the
 * wall clock.
 */
export function parseCredentialFile(content: Uint8Array, worker: string, now: number): Credential {
  if (content.length > CREDENTIAL_FILE_MAX)
    throw refused('too_large', `has ${content.length} bytes; ${CREDENTIAL_FILE_MAX} are allowed`)
  const fields = parseObject(content)
  refuseVendorCredential(fields)
  const conversation = field(fields, 'conversation_id')
  const agent = field(fields, 'worker_id')
  const token = field(fields, 'worker_token')
  if (!isConversationId(conversation)) throw refused('invalid', 'has a conversation_id that is not one')
  if (agent !== worker && !(/^\d{1,7}$/.test(agent) && workerName(Number(agent)) === worker)) {
    throw refused('forbidden', `belongs to another worker than ${worker}`)
  }
  if (!TOKEN.test(token)) throw refused('invalid', 'has a worker_token of unusual characters or length')
  const createdAt = instant(fields, 'created_at')
  const expiresAt = instant(fields, 'expires_at')
  if (expiresAt <= createdAt) throw refused('invalid', 'expires before it was made')
  if (expiresAt <= now) throw refused('expired', `expired at ${new Date(expiresAt).toISOString()}`)
  return {
    session: sessionId(conversation, 'b'),
    token,
    agent: worker,
    role: word(fields, 'worker_role'),
    bridgeUrl: bridgeUrl(fields),
    ...bridgeCa(fields),
    ...bridgePin(fields),
    createdAt,
    expiresAt,
  }
}

/**
 * A vendor's login is no credential of a fleet: its refresh token changes with each use, so that two hosts that share it lock
 * each other out.
 */
function refuseVendorCredential(fields: Readonly<Record<string, unknown>>): void {
  const found = Object.keys(fields).find((name) => VENDOR_FIELD.test(name))
  if (found === undefined) return
  throw new S2Error(
    'forbidden',
    `the credential file holds a vendor's login (${textHead(found, 40)}), which is never synced`,
    {
      next: 'log the agent in on its own host: a refresh token that two hosts use is void on both',
    },
  )
}

const VENDOR_FIELD = /refresh_?token|id_?token|^claudeAiOauth$|^OPENAI_API_KEY$|^tokens$|oauth/i

const TOKEN = /^[A-Za-z0-9._~+/=-]{16,512}$/

function refused(code: 'invalid' | 'forbidden' | 'expired' | 'too_large', why: string): S2Error {
  return new S2Error(code, `the credential file ${why}`, {
    next: 'have the orchestrator publish this worker’s credential anew',
  })
}

function parseObject(content: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content))
  } catch {
    throw refused('invalid', content.length === 0 ? 'is empty' : 'is not JSON in UTF-8; it may be cut short')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refused('invalid', 'is not a JSON object')
  return value as Record<string, unknown>
}

/** A text, or a whole number as text (worker ids were written both ways). */
function field(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  if (typeof value !== 'string' || value === '') throw refused('invalid', `has no ${name}`)
  return value
}

function word(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = field(fields, name)
  if (!/^[\w .:-]{1,100}$/.test(value)) throw refused('invalid', `has a ${name} of unusual characters or length`)
  return value
}

function instant(fields: Readonly<Record<string, unknown>>, name: string): number {
  const ms = parseInstant(field(fields, name))
  if (ms === null) throw refused('invalid', `has a ${name} that is no time`)
  return ms
}

function bridgeUrl(fields: Readonly<Record<string, unknown>>): string {
  const text = field(fields, 'bridge_url')
  const url = URL.canParse(text) && text.length <= 300 ? new URL(text) : null
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw refused('invalid', 'has a bridge_url that is no plain http or https address')
  }
  return url.origin
}

/** Nothing where the file names none: then this machine trusts the bridge's certificate. */
function bridgeCa(fields: Readonly<Record<string, unknown>>): { readonly bridgeCa?: string } {
  if (!Object.hasOwn(fields, 'bridge_ca')) return {}
  try {
    return { bridgeCa: readAuthority(field(fields, 'bridge_ca')) }
  } catch (error) {
    if (error instanceof S2Error) throw error
    throw refused('invalid', `has a bridge_ca that ${(error as Error).message}`)
  }
}

function bridgePin(fields: Readonly<Record<string, unknown>>): { readonly bridgePin?: string } {
  if (!Object.hasOwn(fields, 'bridge_pin')) return {}
  if (!isPin(fields.bridge_pin)) throw refused('invalid', 'has a bridge_pin that is no SHA-256 in base64')
  return { bridgePin: fields.bridge_pin }
}

/** Reads an ISO 8601 time as milliseconds since 1970; without a zone it is UTC, as Python's `utcnow().isoformat()` writes it. */
export function parseInstant(text: string): number | null {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?$/.exec(text)
  if (match === null) return null
  const [, day, time, fraction = '0', zone = 'Z'] = match
  const ms = Date.parse(`${day}T${time}.${fraction.padEnd(3, '0').slice(0, 3)}${zone}`)
  return Number.isNaN(ms) ? null : ms
}
