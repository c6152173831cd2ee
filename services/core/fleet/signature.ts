import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import type { SessionId } from './session-id.ts'

/**
 * HTTP Message Signatures (RFC 9421) in the one form that S2 uses: label `s2`, hmac-sha256 keyed by the UTF-8 bytes of
 * the session's token, over method, path, query and the Content-Digest (RFC 9530, sha-256) of the raw body. Anything else
 * (other components, another order, two signatures) does not count as a signature, so there is nothing to downgrade to.
 */
export interface Signable {
  readonly method: string
  readonly path: string
  /** With its question mark; a request without a query has `?` (RFC 9421, 2.2.7). */
  readonly query: string
  readonly body: Uint8Array
}

export interface Signer {
  readonly session: SessionId
  readonly token: string
  /** Whole seconds since 1970. */
  readonly created: number
  /** 16 to 64 characters of base64url, never used twice. */
  readonly nonce: string
}

export interface SignatureHeaders {
  readonly 'content-digest': string
  readonly 'signature-input': string
  readonly signature: string
}

/** What a request says of its signature; nothing of it counts before `verify`. */
export interface Claim {
  readonly session: SessionId
  readonly created: number
  readonly nonce: string
  readonly params: string
  readonly digest: string
  readonly signature: string
}

export function sign(request: Signable, { session, token, created, nonce }: Signer): SignatureHeaders {
  const params = `${COMPONENTS};created=${created};nonce="${nonce}";keyid="${session}";alg="hmac-sha256"`
  const digest = contentDigest(request.body)
  return {
    'content-digest': digest,
    'signature-input': `s2=${params}`,
    signature: `s2=:${mac(token, signatureBase(request, digest, params))}:`,
  }
}

/** Reads the three headers of a request; null unless they have exactly our form. */
export function readClaim(headers: Readonly<Record<string, string | string[] | undefined>>): Claim | null {
  const input = headers['signature-input']
  const signature = headers.signature
  const digest = headers['content-digest']
  if (typeof input !== 'string' || typeof signature !== 'string' || typeof digest !== 'string') return null
  const match = INPUT.exec(input)
  const seal = SIGNATURE.exec(signature)
  if (match === null || seal === null || !DIGEST.test(digest)) return null
  return {
    session: match[3] as SessionId,
    created: Number(match[1]),
    nonce: match[2] as string,
    params: input.slice('s2='.length),
    digest,
    signature: seal[1] as string,
  }
}

/**
 * True when the claim was made over this very request with one of the tokens. Takes as long for a wrong token as for a
 * right one, and without any as with one. Says nothing of time and repetition: `created` and `nonce` are the caller's.
 */
export function verify(request: Signable, claim: Claim, tokens: readonly string[]): boolean {
  const base = signatureBase(request, claim.digest, claim.params)
  const given = Buffer.from(claim.signature, 'latin1')
  let isGenuine = false
  for (const token of tokens.length === 0 ? NOBODY : tokens) {
    // Texts are compared, not bytes: base64 has several spellings of some values, and only one is ours.
    if (timingSafeEqual(Buffer.from(mac(token, base), 'latin1'), given)) isGenuine = true
  }
  return isGenuine && tokens.length > 0 && contentDigest(request.body) === claim.digest
}

/** The answer to a WebSocket's challenge: proves the token for this session on this connection, and on no other. */
export function joinProof(token: string, challenge: string, session: SessionId, after: number | null): string {
  return mac(token, `s2-join-1\n${challenge}\n${session}\n${after ?? '-'}`)
}

export function checkJoinProof(
  proof: string,
  tokens: readonly string[],
  challenge: string,
  session: SessionId,
  after: number | null,
): boolean {
  const given = Buffer.from(proof, 'latin1')
  let isGenuine = false
  for (const token of tokens.length === 0 ? NOBODY : tokens) {
    const wanted = Buffer.from(joinProof(token, challenge, session, after), 'latin1')
    if (wanted.length === given.length && timingSafeEqual(wanted, given)) isGenuine = true
  }
  return isGenuine && tokens.length > 0
}

const COMPONENTS = '("@method" "@path" "@query" "content-digest")'
const INPUT =
  /^s2=\("@method" "@path" "@query" "content-digest"\);created=(\d{9,11});nonce="([\w-]{16,64})";keyid="([\w-]{1,64}\/[ab])";alg="hmac-sha256"$/
const SIGNATURE = /^s2=:([A-Za-z0-9+/]{43}=):$/
const DIGEST = /^sha-256=:[A-Za-z0-9+/]{43}=:$/
/** Stands in where a session has no token, so that the check takes as long. */
const NOBODY = ['0'.repeat(64)]

function contentDigest(body: Uint8Array): string {
  return `sha-256=:${hash('sha256', body, 'base64')}:`
}

/** RFC 9421, 2.5. */
function signatureBase({ method, path, query }: Signable, digest: string, params: string): string {
  return `"@method": ${method}\n"@path": ${path}\n"@query": ${query}\n"content-digest": ${digest}\n"@signature-params": ${params}`
}

function mac(token: string, text: string): string {
  return createHmac('sha256', token).update(text).digest('base64')
}
