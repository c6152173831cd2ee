import type { IncomingHttpHeaders } from 'node:http'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { checkJoinProof, readClaim, type Signable, verify } from '#fleet/signature.ts'
import type { Clock } from '#runtime/clock.ts'
import type { NonceCache } from './nonce-cache.ts'
import type { TokenCache } from './token-cache.ts'

/** Finds out who calls. All refusals of a signature read the same, whether the session is unknown, ended or another's. */
export class Authentication {
  readonly #tokens: TokenCache
  readonly #nonces: NonceCache
  readonly #clock: Clock

  constructor(tokens: TokenCache, nonces: NonceCache, clock: Clock) {
    this.#tokens = tokens
    this.#nonces = nonces
    this.#clock = clock
  }

  /** Who signed this request. Throws `unauthenticated`; `expired`, with the bridge's time, when it was signed at another time. */
  async identify(request: Signable, headers: IncomingHttpHeaders): Promise<SessionId> {
    const claim = readClaim(headers)
    if (claim === null) throw unsigned()
    const tokens = this.#tokens.peek(claim.session) ?? (await this.#tokens.fetch(claim.session))
    if (!verify(request, claim, tokens)) throw unknownCaller()
    this.#nonces.admit(claim.created, `${claim.session} ${claim.nonce}`, this.#clock.wall())
    return claim.session
  }

  /** Whether this proof, made for this challenge, is the session's. */
  async accepts(session: SessionId, proof: string, challenge: string, after: number | null): Promise<boolean> {
    const tokens = this.#tokens.peek(session) ?? (await this.#tokens.fetch(session))
    return checkJoinProof(proof, tokens, challenge, session, after)
  }
}

function unsigned(): S2Error {
  return new S2Error('unauthenticated', 'the request has no signature of the form that the bridge accepts', {
    next: 'sign it by RFC 9421: label s2, hmac-sha256, ("@method" "@path" "@query" "content-digest"), created, nonce, keyid, alg',
  })
}

export function unknownCaller(): S2Error {
  return new S2Error('unauthenticated', 'the signature is not that of a live session', {
    next: 'get the current credential of this session; its conversation may have ended',
  })
}
