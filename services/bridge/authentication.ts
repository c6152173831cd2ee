import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import {
  type Claim,
  checkJoinProof,
  type HeaderFields,
  isSignedWithoutAuthority,
  type JoinedSession,
  matchesDigest,
  type RequestHead,
  readClaim,
  type SocketGreeting,
  UNREAD_SIGNATURE,
  verify,
} from '#fleet/signature.ts'
import { isSameSecret } from '#runtime/same-secret.ts'
import type { NonceCache } from './nonce-cache.ts'
import type { TokenCache } from './token-cache.ts'

/** Who made a request, proved by its head alone; the answer is signed with the same token. */
export interface Caller {
  readonly session: SessionId
  readonly token: string
  readonly claim: Claim
}

/** Finds out who calls. All refusals of a signature read the same, whether the session is unknown, ended or another's. */
export class Authentication {
  readonly #tokens: TokenCache
  readonly #nonces: NonceCache

  constructor(tokens: TokenCache, nonces: NonceCache) {
    this.#tokens = tokens
    this.#nonces = nonces
  }

  /**
   * Who signed this head: nothing of the body need be there. Throws `unauthenticated`. `mayAsk` says whether the store may be
   * asked for a session that is not remembered; where it may not, `rate_limited`.
   */
  async identify(head: RequestHead, headers: HeaderFields, mayAsk: () => boolean): Promise<Caller> {
    const claim = readClaim(headers)
    if (claim === null) throw isSignedWithoutAuthority(headers) ? olderHost() : unsigned()
    const tokens = await this.#tokensOf(claim.session, mayAsk)
    const token = verify(head, claim, tokens)
    if (token === null) throw unknownCaller()
    return { session: claim.session, token, claim }
  }

  /**
   * The session of a bearer token, `<session>.<token>`: for clients that cannot sign, over loopback or TLS, without which a bridge
   * does not listen. Throws `unauthenticated`, `rate_limited`.
   */
  async identifyBearer({ authorization }: HeaderFields, mayAsk: () => boolean): Promise<SessionId> {
    const match = /^Bearer +([A-Za-z0-9_-]{1,64}\/[ab])\.([\x21-\x7e]{16,512})$/i.exec(String(authorization ?? ''))
    if (match === null) throw withoutBearer()
    const session = match[1] as SessionId
    const known = await this.#tokensOf(session, mayAsk)
    if (!known.some((token) => isSameSecret(match[2] as string, token))) throw unknownBearer()
    return session
  }

  /** Throws `expired`, with the time to sign by, when the caller signed at another time. */
  demandTimely({ claim }: Caller): void {
    this.#nonces.demandTimely(claim.created)
  }

  /** Throws `unauthenticated` where the body is not the one that the caller signed. */
  demandBody({ claim }: Caller, body: Uint8Array): void {
    if (!matchesDigest(body, claim)) throw unknownCaller()
  }

  /**
   * Lets a caller's request count, once. It is asked only with the body that was signed, so that whoever repeats its head with
   * another body spoils nothing. Throws `unauthenticated`, or `expired` where the body took too long to come.
   */
  admit({ session, claim }: Caller): void {
    this.#nonces.admit(claim.created, `${session} ${claim.nonce}`)
  }

  /** The token that this proof was made with, for this connection and session; null when it is none of the session's. */
  async tokenOfProof(
    proof: string,
    greeting: SocketGreeting,
    joined: JoinedSession,
    mayAsk: () => boolean,
  ): Promise<string | null> {
    return checkJoinProof(proof, await this.#tokensOf(joined.session, mayAsk), greeting, joined)
  }

  async #tokensOf(session: SessionId, mayAsk: () => boolean): Promise<readonly string[]> {
    const known = this.#tokens.peek(session)
    if (known !== undefined) return known
    if (!mayAsk()) throw tooManyUnknown()
    return await this.#tokens.fetch(session)
  }
}

function withoutBearer(): S2Error {
  return new S2Error('unauthenticated', 'the request has no bearer token of a session', {
    next: 'send the header that `s2 mcp --headers` prints on the host of the session',
  })
}

function unknownBearer(): S2Error {
  return new S2Error('unauthenticated', 'the bearer token is not that of a live session', {
    next: 'print the header anew, by `s2 mcp --headers` on the host of the session: tokens change when credentials are renewed',
  })
}

function unsigned(): S2Error {
  return new S2Error('unauthenticated', UNREAD_SIGNATURE, {
    next: 'sign it by RFC 9421: label s2, hmac-sha256, ("@method" "@authority" "@path" "@query" "content-digest"), created, nonce, keyid, alg',
  })
}

/** What to do stands in the message: hosts of version 0.1 show nothing else of a refusal. */
export function olderHost(): S2Error {
  return new S2Error(
    'unauthenticated',
    'the host runs an earlier version of S2 than this bridge: update S2 on that host, and start its s2 work again',
    {
      next: 'update S2 on that host to the version of the bridge (git pull, make install), and start its s2 work again',
    },
  )
}

export function unknownCaller(): S2Error {
  return new S2Error('unauthenticated', 'the signature is not that of a live session', {
    next: 'a worker that was revoked or replaced is invited again: s2 worker invite, on the orchestrator’s host; an agent that is no worker of S2 gets a new token there: s2 credential rotate',
  })
}

export function tooManyUnknown(): S2Error {
  return new S2Error('rate_limited', 'too many requests of nobody known come from this address', {
    next: 'try again in a minute',
    retryAfterS: 10,
  })
}
