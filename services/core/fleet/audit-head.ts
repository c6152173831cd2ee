import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { type ChainHead, canonicalJson } from './audit.ts'

/** The end of a chain at one moment. Kept elsewhere, it shows later that nothing before it was taken back. */
export interface AuditHead extends ChainHead {
  /** Tells chains apart: that of the store, also after a restore. */
  readonly store: string
  /** Milliseconds since 1970. */
  readonly at: number
}

/** A head with the signature of whoever wrote it (Ed25519, RFC 8032), both in base64url. */
export interface SignedHead extends AuditHead {
  readonly key: string
  readonly signature: string
}

/** Signs bytes; answers the public key and the signature, both in base64url. */
export type HeadSigner = (bytes: Uint8Array) => { readonly key: string; readonly signature: string }

export function signHead({ store, seq, hash, at }: AuditHead, sign: HeadSigner): SignedHead {
  const head = { store, seq, hash, at }
  return { ...head, ...sign(signedBytes(head)) }
}

/** Whether the head bears the signature of the key that it names. */
export function isHeadSigned(head: SignedHead): boolean {
  try {
    return verify(null, signedBytes(head), publicKey(head.key), Buffer.from(head.signature, 'base64url'))
  } catch {
    return false
  }
}

/** Reads a line of a file of heads; null where it is none. */
export function readHead(line: string): SignedHead | null {
  try {
    const head = JSON.parse(line) as Record<keyof SignedHead, unknown>
    const texts = [head.store, head.hash, head.key, head.signature]
    const isWhole = texts.every((each) => typeof each === 'string') && [head.seq, head.at].every(Number.isSafeInteger)
    return isWhole ? (head as SignedHead) : null
  } catch {
    return null
  }
}

function signedBytes({ store, seq, hash, at }: AuditHead): Uint8Array {
  return Buffer.from(canonicalJson({ format: 's2-audit-head-1', store, seq, hash, at }))
}

function publicKey(key: string): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: key }, format: 'jwk' })
}
