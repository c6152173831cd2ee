import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { httpbis } from 'http-message-signatures'
import type { SessionId } from '#fleet/session-id.ts'
import {
  checkJoinedProof,
  checkJoinProof,
  frameKey,
  isSignedWithoutAuthority,
  type JoinedSession,
  joinedProof,
  joinProof,
  matchesDigest,
  readClaim,
  type Signable,
  type Signer,
  sign,
  signAnswer,
  verify,
  verifyAnswer,
} from '#fleet/signature.ts'

declare global {
  /** The independent implementation's types name this one of the browser's. */
  type BufferSource = ArrayBufferView | ArrayBuffer
}

const session: SessionId = 'conv_0123456789abcdef/b'
const token = 'canary-token-that-is-none-0123456789'
const request: Signable = {
  method: 'POST',
  authority: '127.0.0.1:7433',
  path: '/v1/send',
  query: '?',
  body: Buffer.from('{"text":"grüße"}'),
}
const signer: Signer = { session, token, created: 1_700_000_000, nonce: 'nonce-0123456789abcd' }
const URL_SIGNED = 'http://127.0.0.1:7433/v1/send'
const FIELDS = ['@method', '@authority', '@path', '@query', 'content-digest']

function check(signed: Signable, headers: Record<string, string | string[] | undefined>, tokens = [token]): boolean {
  const claim = readClaim(headers)
  return claim !== null && verify(signed, claim, tokens) !== null && matchesDigest(signed.body, claim)
}

test('an independent implementation accepts what we sign', async () => {
  const headers = sign(request, signer)
  const seen: unknown[] = []
  const config = {
    notAfter: signer.created,
    requiredFields: FIELDS,
    keyLookup: async (params: { keyid?: string }) => {
      seen.push(params.keyid)
      return {
        algs: ['hmac-sha256'],
        verify: async (data: Buffer, signature: Buffer) =>
          createHmac('sha256', token).update(data).digest().equals(signature),
      }
    },
  }
  const message = { method: 'POST', url: URL_SIGNED, headers: { ...headers } }
  assert.equal(await httpbis.verifyMessage(config, message), true)
  assert.deepEqual(seen, [session])
  assert.equal(headers['content-digest'], `sha-256=:${createHash('sha256').update(request.body).digest('base64')}:`)
  const altered = { ...message, url: `${URL_SIGNED}x` }
  assert.equal(await httpbis.verifyMessage(config, altered), false, 'the verifier verifies')
})

test('we accept what an independent implementation signs', async () => {
  const digest = `sha-256=:${createHash('sha256').update(request.body).digest('base64')}:`
  const signWith = (fields: string[], params = ['created', 'nonce', 'keyid', 'alg'], name = 's2') =>
    httpbis.signMessage(
      {
        key: {
          id: session,
          alg: 'hmac-sha256',
          sign: async (data: Buffer) => createHmac('sha256', token).update(data).digest(),
        },
        name,
        fields,
        params,
        paramValues: { created: new Date(signer.created * 1000), nonce: signer.nonce },
      },
      { method: 'POST', url: URL_SIGNED, headers: { 'content-digest': digest } },
    )
  const lower = (headers: Record<string, string | string[]>) =>
    Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  assert.equal(check(request, lower((await signWith(FIELDS)).headers)), true)
  for (const fields of [
    FIELDS.slice(1),
    FIELDS.slice(0, 4),
    [...FIELDS].reverse(),
    FIELDS.filter((each) => each !== '@authority'),
  ]) {
    assert.equal(check(request, lower((await signWith(fields)).headers)), false, fields.join(' '))
  }
  for (const params of [
    ['created', 'keyid', 'alg'],
    ['nonce', 'keyid', 'alg'],
    ['created', 'nonce', 'alg'],
  ]) {
    assert.equal(check(request, lower((await signWith(FIELDS, params)).headers)), false, params.join(' '))
  }
  assert.equal(check(request, lower((await signWith(FIELDS, undefined, 'sig')).headers)), false, 'another label')
})

test('every part that is signed breaks the signature when it changes', () => {
  const headers = sign(request, signer)
  assert.equal(check(request, { ...headers }), true)
  const changes: Partial<Signable>[] = [
    { method: 'PUT' },
    { authority: 'other.example.org' },
    { path: '/v1/mark' },
    { query: '?x=1' },
    { body: Buffer.from('{"text":"gruesse"}') },
    { body: Buffer.alloc(0) },
  ]
  for (const change of changes)
    assert.equal(check({ ...request, ...change }, { ...headers }), false, JSON.stringify(change))
  const inputs: [string, string][] = [
    [String(signer.created), String(signer.created + 1)],
    [signer.nonce, 'nonce-0123456789abcx'],
    ['/b"', '/a"'],
    ['hmac-sha256', 'hmac-sha512'],
    ['"@method" ', ''],
  ]
  for (const [from, to] of inputs) {
    const input = headers['signature-input'].replace(from, to)
    assert.notEqual(input, headers['signature-input'])
    assert.equal(check(request, { ...headers, 'signature-input': input }), false, `${from} → ${to}`)
  }
})

test('only the right token counts, and having two in force is having either', () => {
  const headers = { ...sign(request, signer) }
  assert.equal(check(request, headers, []), false)
  assert.equal(check(request, headers, ['another']), false)
  assert.equal(check(request, headers, ['another', token]), true)
  assert.equal(check(request, headers, [token, 'another']), true)
  const nobody = sign(request, { ...signer, token: '0'.repeat(64) })
  assert.equal(check(request, { ...nobody }, []), false, 'the stand-in for no token opens nothing')
})

test('headers that are missing, doubled or spelled otherwise are no signature', () => {
  const headers = sign(request, signer)
  for (const name of Object.keys(headers)) assert.equal(readClaim({ ...headers, [name]: undefined }), null, name)
  const doubled = { ...headers, signature: `${headers.signature}, s2=:${'A'.repeat(43)}=:` }
  assert.equal(readClaim(doubled), null)
  assert.equal(
    readClaim({ ...headers, 'signature-input': `${headers['signature-input']}, ${headers['signature-input']}` }),
    null,
  )
  assert.equal(readClaim({ ...headers, 'content-digest': `${headers['content-digest']}, sha-512=:AA==:` }), null)
  // The last character before `=` carries two unused bits: other spellings of the same bytes are refused.
  const last = headers.signature.at(-3) ?? ''
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  const twin = alphabet[alphabet.indexOf(last) ^ 1] ?? ''
  const respelled = `${headers.signature.slice(0, -3)}${twin}=:`
  assert.deepEqual(Buffer.from(respelled.slice(4, -1), 'base64'), Buffer.from(headers.signature.slice(4, -1), 'base64'))
  assert.equal(check(request, { ...headers, signature: respelled }), false)
})

test('a claim says what the headers say, and a header that came as a list says nothing', () => {
  const headers = sign(request, signer)
  assert.deepEqual(readClaim({ ...headers }), {
    session,
    created: signer.created,
    nonce: signer.nonce,
    params: headers['signature-input'].slice('s2='.length),
    digest: headers['content-digest'],
    signature: headers.signature.slice('s2=:'.length, -1),
  })
  const signedAnswer = signAnswer(answer, signer)
  for (const name of ['content-digest', 'signature-input', 'signature'] as const) {
    assert.equal(readClaim({ ...headers, [name]: [headers[name]] }), null, name)
    assert.equal(verifyAnswer(answer, { ...signedAnswer, [name]: [signedAnswer[name]] }, signer), false, name)
  }
})

test('a request of an earlier version is known by what it covers', () => {
  const input = sign(request, signer)['signature-input']
  const earlier = input.replace('"@authority" ', '')
  assert.ok(isSignedWithoutAuthority({ 'signature-input': earlier }))
  for (const other of [input, '', ` ${earlier}`, undefined, [earlier]])
    assert.equal(isSignedWithoutAuthority({ 'signature-input': other }), false, String(other))
})

test('no header text crosses over or crashes the reader', () => {
  const headers = sign(request, signer)
  const names = Object.keys(headers) as (keyof typeof headers)[]
  const edit = fc.record({
    name: fc.constantFrom(...names),
    at: fc.nat(400),
    remove: fc.nat(3),
    insert: fc.oneof(fc.string({ unit: 'binary', maxLength: 4 }), fc.constantFrom('"', ';', ',', ' ', '\0', '=', ':')),
  })
  fc.assert(
    fc.property(edit, ({ name, at, remove, insert }) => {
      const text = headers[name]
      const altered = text.slice(0, at) + insert + text.slice(at + remove)
      assert.equal(check(request, { ...headers, [name]: altered }), altered === text)
    }),
    { numRuns: 3_000 },
  )
})

const GREETING = { authority: '127.0.0.1:7433', challenge: 'challenge', nonce: 'nonce-0123456789abcd' }
const JOINED = { session, after: 7 }

test('a join is proved for one bridge, connection, session and cursor', () => {
  const proof = joinProof(token, GREETING, JOINED)
  assert.equal(checkJoinProof(proof, [token], GREETING, JOINED), token)
  assert.equal(checkJoinProof(proof, ['another', token], GREETING, JOINED), token)
  for (const change of [{ challenge: 'another' }, { authority: 'other.example.org' }, { nonce: 'another' }]) {
    assert.equal(checkJoinProof(proof, [token], { ...GREETING, ...change }, JOINED), null, JSON.stringify(change))
  }
  for (const change of [{ session: 'conv_0123456789abcdef/a' as const }, { after: 8 }, { after: null }]) {
    assert.equal(checkJoinProof(proof, [token], GREETING, { ...JOINED, ...change }), null, JSON.stringify(change))
  }
  assert.equal(checkJoinProof(proof, [], GREETING, JOINED), null)
  const nobody = joinProof('0'.repeat(64), GREETING, JOINED)
  assert.equal(checkJoinProof(nobody, [], GREETING, JOINED), null, 'the stand-in for no token opens nothing')
  assert.equal(checkJoinProof(proof.slice(1), [token], GREETING, JOINED), null)
})

test('proofs and the key of the frames are HMACs of what both ends know, as other versions make them', () => {
  const mac = (text: string): Buffer => createHmac('sha256', token).update(text).digest()
  const known = `${GREETING.authority}\n${GREETING.challenge}\n${GREETING.nonce}`
  for (const [after, cursor] of [
    [7, '7'],
    [0, '0'],
    [null, '-'],
  ] as const) {
    const joined: JoinedSession = { session, after }
    const text: string = `${known}\n${session}\n${cursor}`
    assert.equal(joinProof(token, GREETING, joined), mac(`s2-join-2\n${text}`).toString('base64'))
    assert.equal(joinedProof(token, GREETING, joined), mac(`s2-joined-2\n${text}`).toString('base64'))
  }
  assert.deepEqual(frameKey(token, GREETING), mac(`s2-frames-2\n${known}`))
})

test('the bridge’s proof is not the host’s, nor that of another token', () => {
  const proof = joinedProof(token, GREETING, JOINED)
  assert.equal(checkJoinedProof(proof, token, GREETING, JOINED), true)
  assert.equal(checkJoinedProof(joinProof(token, GREETING, JOINED), token, GREETING, JOINED), false)
  assert.equal(checkJoinedProof(proof, 'another', GREETING, JOINED), false)
  assert.equal(checkJoinedProof(proof, token, { ...GREETING, nonce: 'another' }, JOINED), false)
})

const asked = sign(request, signer).signature.slice(4, -1)
const answer = { status: 200, body: Buffer.from('{"id":1}'), requestSignature: asked }

test('an answer counts for one request, status and body, by the token of that request', () => {
  const headers = { ...signAnswer(answer, signer) }
  assert.equal(verifyAnswer(answer, headers, signer), true)
  const changes = [{ status: 201 }, { body: Buffer.from('{"id":2}') }, { requestSignature: asked.replace(/^./, '_') }]
  for (const change of changes) assert.equal(verifyAnswer({ ...answer, ...change }, headers, signer), false)
  assert.equal(verifyAnswer(answer, headers, { ...signer, token: 'another' }), false)
  assert.equal(verifyAnswer(answer, headers, { ...signer, session: 'conv_0123456789abcdef/a' }), false)
  for (const name of Object.keys(headers)) {
    assert.equal(verifyAnswer(answer, { ...headers, [name]: undefined }, signer), false, name)
  }
  assert.equal(verifyAnswer(answer, { ...sign(request, signer) }, signer), false, 'a request is no answer')
})

test('an independent implementation accepts the answers that we sign', async () => {
  const headers = signAnswer(answer, signer)
  const config = {
    requiredFields: ['@status', 'content-digest'],
    keyLookup: async () => ({
      algs: ['hmac-sha256'],
      verify: async (data: Buffer, signature: Buffer) =>
        createHmac('sha256', token).update(data).digest().equals(signature),
    }),
  }
  const from = { method: 'POST', url: URL_SIGNED, headers: { ...sign(request, signer) } }
  assert.equal(await httpbis.verifyMessage(config, { status: 200, headers: { ...headers } }, from), true)
  assert.equal(await httpbis.verifyMessage(config, { status: 404, headers: { ...headers } }, from), false)
})
