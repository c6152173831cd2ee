/** Who calls is proved by the head of a request, and a request counts once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { partnerOf, type SessionId, sessionId } from '#fleet/session-id.ts'
import { type HeaderFields, joinProof, type Signable, type SocketGreeting, sign } from '#fleet/signature.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { Authentication, type Caller } from '../../services/bridge/authentication.ts'
import { NonceCache } from '../../services/bridge/nonce-cache.ts'
import { SignatureTime } from '../../services/bridge/signature-time.ts'
import { TokenCache } from '../../services/bridge/token-cache.ts'
import { ManualClock } from '../manual-clock.ts'

const REQUEST: Signable = {
  method: 'POST',
  authority: 'bridge.test',
  path: '/v1/send',
  query: '?',
  body: Buffer.from('{}'),
}
const NONCE = 'nonce-0123456789abcd'
const GREETING: SocketGreeting = { authority: 'bridge.test', challenge: 'challenge', nonce: NONCE }

async function scene() {
  const clock = new ManualClock()
  const store = openMemoryStore({ clock })
  const { id, tokens } = await store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: 's2-worker-1' },
    lifetimeMs: 3_600_000,
  })
  const nonces = new NonceCache(new SignatureTime(clock, recordingLog()))
  clock.pause(10_000)
  const cache = new TokenCache(store, clock)
  const authentication = new Authentication(cache, nonces)
  const session = sessionId(id, 'b')
  const created = Math.floor(clock.wall() / 1000)
  const signed = (by: SessionId, token: string, nonce = NONCE): HeaderFields => ({
    ...sign(REQUEST, { session: by, token, created, nonce }),
  })
  const identify = (headers: HeaderFields, mayAsk = true, head = REQUEST): Promise<Caller> =>
    authentication.identify(head, headers, () => mayAsk)
  return {
    clock,
    store,
    cache,
    authentication,
    session,
    tokens,
    token: tokens.b,
    signed,
    identify,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

async function refusalOf(asked: Promise<unknown>): Promise<S2Error> {
  const error = await asked.then(
    () => null,
    (refusal: unknown) => refusal,
  )
  assert.ok(error instanceof S2Error, String(error))
  return error
}

test('a caller is the session whose token signed the head, and no other', async () => {
  await using at = await scene()
  const caller = await at.identify(at.signed(at.session, at.token))
  assert.deepEqual([caller.session, caller.token], [at.session, at.token])
  assert.deepEqual([caller.claim.nonce, caller.claim.session], [NONCE, at.session])
  const partner = await at.identify(at.signed(partnerOf(at.session), at.tokens.a))
  assert.equal(partner.session, partnerOf(at.session))
  for (const headers of [at.signed(partnerOf(at.session), at.token), at.signed(at.session, at.tokens.a)])
    assert.equal((await refusalOf(at.identify(headers))).code, 'unauthenticated')
  const elsewhere = { ...REQUEST, path: '/v1/mark' }
  const moved = await refusalOf(at.identify(at.signed(at.session, at.token), true, elsewhere))
  assert.equal(moved.code, 'unauthenticated')
})

test('whether a session is unknown, has ended, or is another’s: the refusal is the same', async () => {
  await using at = await scene()
  const wrong = await refusalOf(at.identify(at.signed(at.session, 'x'.repeat(64))))
  const unknown = await refusalOf(at.identify(at.signed('conv_ffffffffffffffff/b', at.token)))
  await at.store.endConversation(at.session.slice(0, -2))
  at.clock.pause(2_000)
  const ended = await refusalOf(at.identify(at.signed(at.session, at.token)))
  for (const { code, message, next } of [wrong, unknown, ended]) {
    assert.equal(code, 'unauthenticated')
    assert.equal(message, 'the signature is not that of a live session')
    assert.match(next ?? '', /s2 worker invite/)
  }
})

test('a request that is not signed, and one of an earlier version, are told apart', async () => {
  await using at = await scene()
  const unsigned = await refusalOf(at.identify({}))
  assert.equal(unsigned.code, 'unauthenticated')
  assert.match(unsigned.message, /no signature of the form/)
  assert.match(unsigned.next ?? '', /RFC 9421/)
  const now = at.signed(at.session, at.token)
  const before = String(now['signature-input']).replace('"@authority" ', '')
  const older = await refusalOf(at.identify({ ...now, 'signature-input': before }))
  assert.equal(older.code, 'unauthenticated')
  assert.match(older.message, /earlier version of S2.*update S2 on that host/)
})

test('the store is asked only where it may be and must be', async () => {
  await using at = await scene()
  const headers = at.signed(at.session, at.token)
  const { code, retryAfterS } = await refusalOf(at.identify(headers, false))
  assert.deepEqual([code, retryAfterS], ['rate_limited', 10])
  await at.identify(headers)
  let asked = 0
  const mayAsk = (): boolean => {
    asked += 1
    return false
  }
  const caller = await at.authentication.identify(REQUEST, headers, mayAsk)
  assert.equal(caller.session, at.session)
  assert.equal(asked, 0, 'what is remembered costs no question')
})

test('a signature that is too old, or ahead, is refused by the clock of the bridge', async () => {
  await using at = await scene()
  const caller = await at.identify(at.signed(at.session, at.token))
  at.authentication.demandTimely(caller)
  at.clock.pause(61_000)
  assert.throws(() => at.authentication.demandTimely(caller), { code: 'expired', time: at.clock.wall() })
  assert.throws(() => at.authentication.admit(caller), { code: 'expired' })
})

test('a body counts where it is the one that was signed', async () => {
  await using at = await scene()
  const caller = await at.identify(at.signed(at.session, at.token))
  at.authentication.demandBody(caller, Buffer.from('{}'))
  for (const body of ['', '{} ', '{"a":1}'])
    assert.throws(() => at.authentication.demandBody(caller, Buffer.from(body)), { code: 'unauthenticated' }, body)
})

test('a request is let in once; another session may have used the same nonce', async () => {
  await using at = await scene()
  const caller = await at.identify(at.signed(at.session, at.token))
  at.authentication.admit(caller)
  assert.throws(() => at.authentication.admit(caller), { code: 'unauthenticated', message: /made before/ })
  at.authentication.admit(await at.identify(at.signed(partnerOf(at.session), at.tokens.a)))
  at.authentication.admit(await at.identify(at.signed(at.session, at.token, 'another-0123456789ab')))
})

test('a proof on a WebSocket is that of one of the session’s tokens, or of nobody', async () => {
  await using at = await scene()
  const joined = { session: at.session, after: null }
  const proof = joinProof(at.token, GREETING, joined)
  const check = (text: string, mayAsk = true): Promise<string | null> =>
    at.authentication.tokenOfProof(text, GREETING, joined, () => mayAsk)
  assert.equal((await refusalOf(check(proof, false))).code, 'rate_limited')
  assert.equal(await check(proof), at.token)
  assert.equal(await check(proof, false), at.token, 'it is remembered')
  assert.equal(await check(joinProof(at.tokens.a, GREETING, joined)), null)
  const next = await at.store.rotateToken(at.session, 60_000)
  at.cache.forget(at.session.slice(0, -2))
  assert.equal(await check(joinProof(next, GREETING, joined)), next)
  assert.equal(await check(proof), at.token, 'the token before counts on for a while')
})
