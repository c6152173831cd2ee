import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import type { SessionId } from './session-id.ts'

/**
 * HTTP Message Signatures (RFC 9421) in the one form that S2 uses: label `s2`, hmac-sha256 keyed by the UTF-8 bytes of
 * the session's token. A request is signed over method, authority, path, query and the Content-Digest (RFC 9530, sha-256) of
 * its raw body, so that one bridge's request is worthless at another; an answer over status, Content-Digest and the
 * signature of its request. Anything else (other components, another order, two signatures) does not count as a
 * signature, so there is nothing to downgrade to.
 */
export interface RequestHead {
  readonly method: string
  /** The bridge, as the Host header names it, in small letters (RFC 9421, 2.2.3). */
  readonly authority: string
  readonly path: string
  /** With its question mark; a request without a query has `?` (RFC 9421, 2.2.7). */
  readonly query: string
}

export interface Signable extends RequestHead {
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

/** What is signed of an answer. */
export interface SignableAnswer {
  readonly status: number
  /** A text stands for its bytes in UTF-8. */
  readonly body: Uint8Array | string
  /** The value of the request's signature, in base64: it ties the answer to its question. */
  readonly requestSignature: string
}

export type HeaderFields = Readonly<Record<string, string | string[] | undefined>>

export function sign(request: Signable, { session, token, created, nonce }: Signer): SignatureHeaders {
  const params = `${COMPONENTS};created=${created};nonce="${nonce}";keyid="${session}";alg="hmac-sha256"`
  const digest = contentDigest(request.body)
  return headersOf(digest, params, mac(token, signatureBase(request, digest, params)))
}

/** Reads the three headers of a request; null unless they have exactly our form. */
export function readClaim(headers: HeaderFields): Claim | null {
  const signed = readHeaders(headers)
  const match = signed === null ? null : INPUT.exec(signed.input)
  if (signed === null || match === null) return null
  return {
    session: match[3] as SessionId,
    created: Number(match[1]),
    nonce: match[2] as string,
    params: signed.input.slice('s2='.length),
    digest: signed.digest,
    signature: signed.signature,
  }
}

/** What a bridge says, of this version and of earlier ones, of a signature that has not its form. */
export const UNREAD_SIGNATURE = 'the request has no signature of the form that the bridge accepts'

/** Whether a request is signed as earlier versions of S2 did, without the name of the bridge. */
export function isSignedWithoutAuthority({ 'signature-input': input }: HeaderFields): boolean {
  return typeof input === 'string' && input.startsWith('s2=("@method" "@path" "@query" "content-digest");')
}

/**
 * Which of the tokens the claim was made with, over the head of this very request; null when with none. Takes as long for
 * a wrong token as for a right one, and without any as with one. The body is still to be compared with what the claim says of
 * it (`matchesDigest`), and `created` and `nonce` are the caller's.
 */
export function verify(request: RequestHead, claim: Claim, tokens: readonly string[]): string | null {
  const base = signatureBase(request, claim.digest, claim.params)
  const given = Buffer.from(claim.signature, 'latin1')
  let genuine: string | null = null
  for (const token of tokens.length === 0 ? NOBODY : tokens) {
    // Texts are compared, not bytes: base64 has several spellings of some values, and only one is ours.
    if (timingSafeEqual(Buffer.from(mac(token, base), 'latin1'), given)) genuine = token
  }
  return tokens.length > 0 ? genuine : null
}

/** Whether a body is the one that the claim was made over. */
export function matchesDigest(body: Uint8Array | string, { digest }: Pick<Claim, 'digest'>): boolean {
  return contentDigest(body) === digest
}

export function signAnswer(
  answer: SignableAnswer,
  { session, token, created }: Omit<Signer, 'nonce'>,
): SignatureHeaders {
  const params = `${ANSWER_COMPONENTS};created=${created};keyid="${session}";alg="hmac-sha256"`
  const digest = contentDigest(answer.body)
  return headersOf(digest, params, mac(token, answerBase(answer, digest, params)))
}

/** Whether whoever holds this token gave this answer to this request. */
export function verifyAnswer(
  answer: SignableAnswer,
  headers: HeaderFields,
  { session, token }: Pick<Signer, 'session' | 'token'>,
): boolean {
  const signed = readHeaders(headers)
  if (signed === null || ANSWER_INPUT.exec(signed.input)?.[1] !== session) return false
  const wanted = mac(token, answerBase(answer, signed.digest, signed.input.slice('s2='.length)))
  const isGenuine = timingSafeEqual(Buffer.from(wanted, 'latin1'), Buffer.from(signed.signature, 'latin1'))
  return isGenuine && matchesDigest(answer.body, signed)
}

/** What both ends of a WebSocket know of it. */
export interface SocketGreeting {
  /** As in `RequestHead`: who relays the challenge of one bridge in the name of another gets nothing for it. */
  readonly authority: string
  readonly challenge: string
  /** The host's own chance, so that no earlier answer of the bridge fits. */
  readonly nonce: string
}

/** One session on a WebSocket, and the id of the last message that it has. */
export interface JoinedSession {
  readonly session: SessionId
  readonly after: number | null
}

/** The host's answer to the challenge: proves the token for this session on this connection, and on no other. */
export function joinProof(token: string, greeting: SocketGreeting, joined: JoinedSession): string {
  return mac(token, joinText('s2-join-2', greeting, joined))
}

/** The bridge's answer to the nonce: proves that it knows the token too. */
export function joinedProof(token: string, greeting: SocketGreeting, joined: JoinedSession): string {
  return mac(token, joinText('s2-joined-2', greeting, joined))
}

/** Which of the tokens a host's proof was made with; null when with none. */
export function checkJoinProof(
  proof: string,
  tokens: readonly string[],
  greeting: SocketGreeting,
  joined: JoinedSession,
): string | null {
  let genuine: string | null = null
  for (const token of tokens.length === 0 ? NOBODY : tokens) {
    if (isSame(joinProof(token, greeting, joined), proof)) genuine = token
  }
  return tokens.length > 0 ? genuine : null
}

export function checkJoinedProof(
  proof: string,
  token: string,
  greeting: SocketGreeting,
  joined: JoinedSession,
): boolean {
  return isSame(joinedProof(token, greeting, joined), proof)
}

/** The key that the frames of a WebSocket are sealed with, by the token of the session that joined first. */
export function frameKey(token: string, { authority, challenge, nonce }: SocketGreeting): Buffer {
  return createHmac('sha256', token).update(`s2-frames-2\n${authority}\n${challenge}\n${nonce}`).digest()
}

const COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")'
const INPUT =
  /^s2=\("@method" "@authority" "@path" "@query" "content-digest"\);created=(\d{9,11});nonce="([\w-]{16,64})";keyid="([\w-]{1,64}\/[ab])";alg="hmac-sha256"$/
const ANSWER_COMPONENTS = '("@status" "content-digest" "signature";req;key="s2")'
const ANSWER_INPUT =
  /^s2=\("@status" "content-digest" "signature";req;key="s2"\);created=\d{9,11};keyid="([\w-]{1,64}\/[ab])";alg="hmac-sha256"$/
const SIGNATURE = /^s2=:([A-Za-z0-9+/]{43}=):$/
const DIGEST = /^sha-256=:[A-Za-z0-9+/]{43}=:$/
/** Stands in where a session has no token, so that the check takes as long. */
const NOBODY = ['0'.repeat(64)]

function headersOf(digest: string, params: string, signature: string): SignatureHeaders {
  return { 'content-digest': digest, 'signature-input': `s2=${params}`, signature: `s2=:${signature}:` }
}

function readHeaders(headers: HeaderFields): { input: string; digest: string; signature: string } | null {
  const { 'signature-input': input, signature, 'content-digest': digest } = headers
  if (typeof input !== 'string' || typeof signature !== 'string' || typeof digest !== 'string') return null
  const seal = SIGNATURE.exec(signature)
  return seal === null || !DIGEST.test(digest) ? null : { input, digest, signature: seal[1] as string }
}

function contentDigest(body: Uint8Array | string): string {
  return `sha-256=:${hash('sha256', body, 'base64')}:`
}

/** RFC 9421, 2.5. */
function signatureBase({ method, authority, path, query }: RequestHead, digest: string, params: string): string {
  return `"@method": ${method}\n"@authority": ${authority}\n"@path": ${path}\n"@query": ${query}\n"content-digest": ${digest}\n"@signature-params": ${params}`
}

function answerBase({ status, requestSignature }: SignableAnswer, digest: string, params: string): string {
  return `"@status": ${status}\n"content-digest": ${digest}\n"signature";req;key="s2": :${requestSignature}:\n"@signature-params": ${params}`
}

function joinText(kind: string, { authority, challenge, nonce }: SocketGreeting, joined: JoinedSession): string {
  return `${kind}\n${authority}\n${challenge}\n${nonce}\n${joined.session}\n${joined.after ?? '-'}`
}

function isSame(wanted: string, given: string): boolean {
  const [one, other] = [Buffer.from(wanted, 'latin1'), Buffer.from(given, 'latin1')]
  return one.length === other.length && timingSafeEqual(one, other)
}

function mac(token: string, text: string): string {
  return createHmac('sha256', token).update(text).digest('base64')
}
