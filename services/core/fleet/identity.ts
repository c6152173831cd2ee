import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'

/** What everybody may know of a host's keys. */
export interface PublicIdentity {
  /** Ed25519 (RFC 8032), 32 bytes in base64url: verifies what the host signed. */
  readonly key: string
  /** An age recipient (X25519, `age1…`): what is sealed to it, only this host can open. */
  readonly recipient: string
}

/** A host's own keys. The private halves never leave the host that made them. */
export interface Identity extends PublicIdentity {
  /** The private half of `key`, 32 bytes in base64url. */
  readonly signingKey: string
  /** The private half of `recipient`, as age writes it. */
  readonly ageKey: string
}

/** 32 bytes in base64url. */
export const PUBLIC_KEY = /^[A-Za-z0-9_-]{43}$/
/** An age recipient: Bech32 of 32 bytes. */
export const RECIPIENT = /^age1[02-9ac-hj-np-z]{58}$/
const SIGNATURE = /^[A-Za-z0-9_-]{86}$/

/** A short name of a key for people, as ssh shows keys: nobody can make another key of the same name. */
export function fingerprint(key: string): string {
  return `SHA256:${createHash('sha256').update(Buffer.from(key, 'base64url')).digest('base64url').slice(0, 22)}`
}

/**
 * Signs fields under a name of their kind, so that what was signed as one kind counts as no other. The fields are signed as
 * JSON in the order in which they stand: sender and reader build them by one function. Answers base64url.
 */
export function signFields(
  { key, signingKey }: Pick<Identity, 'key' | 'signingKey'>,
  kind: string,
  fields: object,
): string {
  return signBytes({ key, signingKey }, bytesOf(kind, fields))
}

/** Signs bytes, which say themselves of what kind they are. Answers base64url. */
export function signBytes({ key, signingKey }: Pick<Identity, 'key' | 'signingKey'>, bytes: Uint8Array): string {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: key, d: signingKey }
  return sign(null, bytes, createPrivateKey({ key: jwk, format: 'jwk' })).toString('base64url')
}

/** Whether the owner of this key signed these fields as this kind. */
export function areSignedBy(key: string, kind: string, fields: object, signature: string): boolean {
  if (!PUBLIC_KEY.test(key) || !SIGNATURE.test(signature)) return false
  try {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: key }
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
    return verify(null, bytesOf(kind, fields), publicKey, Buffer.from(signature, 'base64url'))
  } catch {
    return false // 32 bytes that are no point of the curve
  }
}

function bytesOf(kind: string, fields: object): Buffer {
  return Buffer.from(`${kind}\n${JSON.stringify(fields)}`)
}
