import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  authorityAt,
  CREDENTIAL_FILE_MAX,
  type Credential,
  credentialPath,
  hashOfSecret,
  isPin,
  isSameAccess,
  isSameCredential,
  parseCredentialFile,
  parseInstant,
  pinAt,
  workerName,
} from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { makeCertificate } from '../../bridge/certificate.ts'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const FILE = {
  conversation: 'conv_00000000000000aa',
  agent: 's2-worker-1',
  role: 'tests',
  token: 'a-token-that-must-not-show',
  coordinatorToken: 'another-token',
  bridgeUrl: 'http://127.0.0.1:7433',
  createdAt: NOW,
  expiresAt: NOW + 1000,
}
const format = (file: typeof FILE & { readonly bridgeCa?: string }): string =>
  JSON.stringify({
    conversation_id: file.conversation,
    worker_id: file.agent,
    worker_role: file.role,
    coordinator_token: file.coordinatorToken,
    worker_token: file.token,
    created_at: new Date(file.createdAt).toISOString(),
    expires_at: new Date(file.expiresAt).toISOString(),
    bridge_url: file.bridgeUrl,
    ...(file.bridgeCa === undefined ? {} : { bridge_ca: file.bridgeCa }),
  })
const parse = (text: string | Uint8Array, worker = 's2-worker-1', now = NOW) =>
  parseCredentialFile(typeof text === 'string' ? Buffer.from(text) : text, worker, now)
const changed = (over: Record<string, unknown>) => JSON.stringify({ ...JSON.parse(format(FILE)), ...over })
const code = (expected: string) => (error: unknown) =>
  error instanceof S2Error && error.code === expected && !/must-not-show/.test(error.message)

test('what is written is read back', () => {
  assert.deepEqual(parse(format(FILE)), {
    session: 'conv_00000000000000aa/b',
    token: FILE.token,
    agent: 's2-worker-1',
    role: 'tests',
    bridgeUrl: FILE.bridgeUrl,
    createdAt: NOW,
    expiresAt: NOW + 1000,
  })
})

test('the authority of the bridge comes with it, as certificates and nothing else', () => {
  const { cert, key } = makeCertificate(new Date(NOW))
  const file = { ...FILE, bridgeCa: cert }
  assert.equal(parse(format(file)).bridgeCa, cert)
  assert.equal(parse(changed({ bridge_ca: `Subject: CN=x\r\n${cert.replaceAll('\n', '\r\n')}` })).bridgeCa, cert)
  assert.ok(!('bridgeCa' in parse(format(FILE))))
  const big = cert.repeat(Math.ceil(8_192 / cert.length))
  for (const [bad, why] of [
    ['', /^the credential file has no bridge_ca$/],
    [7.5, /^the credential file has no bridge_ca$/],
    ['no certificate', /holds no certificate in PEM/],
    [cert + key, /holds a private key/],
    [cert + key.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE'), /holds a private key/],
    [cert + cert.replaceAll('CERTIFICATE', 'X509 CRL'), /holds something other than certificates/],
    [cert.replace(/^.{64}$/m, ''), /cannot be read; it may be cut short/],
    [big, /holds \d+ bytes of certificates; 8192 are allowed/],
  ] as const) {
    const refused = (error: unknown): boolean => code('invalid')(error) && why.test((error as Error).message)
    assert.throws(() => parse(changed({ bridge_ca: bad })), refused, String(bad).slice(0, 60))
  }
})

test('what is trusted at an address is what the newest credential for it says', () => {
  const { session, ...rest } = parse(format(FILE))
  const at = (bridgeUrl: string, createdAt: number, bridgeCa?: string): Credential => {
    return { ...rest, session, bridgeUrl, createdAt, ...(bridgeCa === undefined ? {} : { bridgeCa }) }
  }
  const held = [at('https://one.test', 2, 'new'), at('https://one.test/', 1, 'old'), at('https://two.test', 3)]
  assert.equal(authorityAt('https://one.test', held), 'new')
  assert.equal(authorityAt('https://two.test', held), undefined)
  assert.equal(authorityAt('https://one.test', [...held, at('https://one.test', 4)]), undefined, 'it has changed back')
  assert.equal(authorityAt('https://one.test', []), undefined)
})

test('the pin of a bridge comes with it, and is a SHA-256 in base64', () => {
  const pin = `${'A'.repeat(43)}=`
  assert.equal(parse(changed({ bridge_pin: pin })).bridgePin, pin)
  assert.ok(!('bridgePin' in parse(format(FILE))))
  for (const bad of ['', 'A'.repeat(44), `${'A'.repeat(44)}=`, `${'-'.repeat(43)}=`, `${pin}\n`, null, 7, [pin]]) {
    assert.ok(!isPin(bad), String(bad))
    assert.throws(() => parse(changed({ bridge_pin: bad })), {
      code: 'invalid',
      message: /has a bridge_pin that is no/,
    })
  }
  const { session, ...rest } = parse(changed({ bridge_pin: pin }))
  const held = [
    { ...rest, session, createdAt: 1, bridgePin: 'older' },
    { ...rest, session, createdAt: 2 },
  ]
  assert.equal(pinAt(FILE.bridgeUrl, held), pin)
  assert.equal(pinAt(FILE.bridgeUrl, held.toReversed()), pin)
  assert.equal(pinAt('https://other.test', held), undefined)
})

test('two credentials are one where the token, the serial and the way to the bridge are the same', () => {
  const one = parse(changed({ bridge_pin: `${'A'.repeat(43)}=` }))
  assert.ok(isSameCredential(one, { ...one, agent: 'renamed', expiresAt: one.expiresAt + 1 }))
  for (const change of [{ token: 'another-token-of-a-test' }, { createdAt: one.createdAt + 1 }]) {
    assert.ok(!isSameCredential(one, { ...one, ...change }), JSON.stringify(change))
    assert.ok(isSameAccess(one, { ...one, ...change }))
  }
  for (const change of [{ bridgeUrl: 'https://other.test' }, { bridgeCa: 'pem' }, { bridgePin: 'other' }]) {
    assert.ok(!isSameAccess(one, { ...one, ...change }), JSON.stringify(change))
    assert.ok(!isSameCredential(one, { ...one, ...change }))
  }
})

test('a worker has its name and its file by its number, and a secret is told by its hash', () => {
  assert.equal(workerName(12), 's2-worker-12')
  assert.equal(credentialPath(workerName(12)), 'credentials/s2-worker-12-credentials.json')
  assert.equal(hashOfSecret('secret'), 'K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols')
})

test('worker 10 never gets the credential of worker 1, nor the other way round', () => {
  assert.throws(() => parse(format(FILE), 's2-worker-10'), code('forbidden'))
  assert.throws(() => parse(changed({ worker_id: 's2-worker-10' })), code('forbidden'))
  assert.equal(parse(changed({ worker_id: 1 })).agent, 's2-worker-1')
  assert.equal(parse(changed({ worker_id: '0000001' })).agent, 's2-worker-1')
  assert.throws(() => parse(changed({ worker_id: '00000001' })), code('forbidden'))
  for (const worker_id of [1.5, -1, 2 ** 60, true, '1 ', '']) {
    const refused = (error: unknown): boolean => code('forbidden')(error) || code('invalid')(error)
    assert.throws(() => parse(changed({ worker_id })), refused, String(worker_id))
  }
  assert.equal(parse(changed({ worker_id: 'gpu-box' }), 'gpu-box').agent, 'gpu-box')
})

test('a login of a vendor is refused, whatever else the file holds, and its value is not shown', () => {
  for (const name of [
    'refresh_token',
    'refreshToken',
    'idToken',
    'claudeAiOauth',
    'OPENAI_API_KEY',
    'tokens',
    'x_oauth',
  ]) {
    const refused = (error: unknown): boolean => {
      const { message, next = '' } = error as S2Error
      return code('forbidden')(error) && message.includes(name) && /on its own host/.test(next)
    }
    assert.throws(() => parse(changed({ [name]: FILE.token })), refused, name)
  }
  const long = `oauth_${'x'.repeat(100)}`
  assert.throws(() => parse(changed({ [long]: 1 })), { message: /\(oauth_x{34}\)/ })
  assert.ok(parse(changed({ my_tokens: 1, session_key: 1 })), 'other names say nothing')
})

test('what is allowed is allowed up to its limit', () => {
  const whole = format(FILE)
  assert.ok(parse(whole + ' '.repeat(CREDENTIAL_FILE_MAX - whole.length)))
  assert.throws(() => parse(whole + ' '.repeat(CREDENTIAL_FILE_MAX - whole.length + 1)), {
    code: 'too_large',
    message: /has 65537 bytes; 65536 are allowed/,
  })
  for (const length of [16, 512]) assert.ok(parse(changed({ worker_token: 'x'.repeat(length) })), String(length))
  for (const length of [15, 513])
    assert.throws(() => parse(changed({ worker_token: 'x'.repeat(length) })), code('invalid'), String(length))
  assert.equal(parse(changed({ worker_role: 'r'.repeat(100) })).role.length, 100)
  assert.throws(() => parse(changed({ worker_role: 'r'.repeat(101) })), code('invalid'))
  const long = `https://bridge.test/${'x'.repeat(280)}`
  assert.equal(parse(changed({ bridge_url: long })).bridgeUrl, 'https://bridge.test', 'without its path')
  for (const bridge_url of [
    `${long}x`,
    'https://user@bridge.test',
    'https://:pass@bridge.test',
    'ftp://bridge.test',
    'x',
  ])
    assert.throws(() => parse(changed({ bridge_url })), { code: 'invalid', message: /bridge_url/ }, bridge_url)
  assert.ok(parse(changed({ expires_at: new Date(NOW + 1).toISOString() })))
  const made = { code: 'invalid', message: /expires before it was made/ }
  assert.throws(() => parse(changed({ expires_at: new Date(NOW).toISOString() })), made)
})

test('a refusal says which field is wrong, and what to do', () => {
  for (const [content, message] of [
    ['', /the credential file is empty$/],
    ['{', /is not JSON in UTF-8; it may be cut short$/],
    ['[]', /is not a JSON object$/],
    ['null', /is not a JSON object$/],
    ['7', /is not a JSON object$/],
    [Buffer.from(changed({ note: '\u00ff' }), 'latin1'), /is not JSON in UTF-8; it may be cut short$/],
    [changed({ conversation_id: undefined }), /has no conversation_id$/],
    [changed({ conversation_id: 'a b' }), /has a conversation_id that is not one$/],
    [changed({ worker_token: 'short' }), /has a worker_token of unusual characters or length$/],
    [changed({ worker_role: '\n' }), /has a worker_role of unusual characters or length$/],
    [changed({ created_at: 'x' }), /has a created_at that is no time$/],
  ] as const)
    assert.throws(() => parse(content), { code: 'invalid', message, next: /publish/ }, String(content))
})

test('each malformed file is refused with its reason and without its content', () => {
  const whole = format(FILE)
  for (const [bad, why] of [
    ['', 'invalid'],
    ['null', 'invalid'],
    ['[]', 'invalid'],
    [whole.slice(0, -20), 'invalid'],
    ['['.repeat(10_000), 'invalid'],
    [Buffer.from([0xff, 0xfe, 0x7b]), 'invalid'],
    ['x'.repeat(CREDENTIAL_FILE_MAX + 1), 'too_large'],
    [changed({ conversation_id: '../../etc/passwd' }), 'invalid'],
    [changed({ worker_token: '' }), 'invalid'],
    [changed({ worker_token: 'a-token-that-must-not-show\n' }), 'invalid'],
    [changed({ worker_token: { toString: 1 } }), 'invalid'],
    [changed({ worker_role: '\u001b[2J' }), 'invalid'],
    [changed({ created_at: 'yesterday' }), 'invalid'],
    [changed({ expires_at: '2025-01-01T00:00:00' }), 'invalid'],
    [changed({ bridge_url: 'file:///etc/passwd' }), 'invalid'],
    [changed({ bridge_url: 'http://user:pass@example.org' }), 'invalid'],
    [changed({ bridge_url: undefined }), 'invalid'],
    ['{"__proto__":{"worker_id":"s2-worker-1"}}', 'invalid'],
  ] as const) {
    assert.throws(() => parse(bad), code(why), String(bad).slice(0, 60))
  }
  assert.throws(() => parse(whole, 's2-worker-1', NOW + 1000), code('expired'))
})

test('no input makes it throw anything but an error with a code', () => {
  const check = (content: Uint8Array): void => {
    try {
      parse(content)
    } catch (error) {
      assert.ok(error instanceof S2Error, String(error))
    }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), check), { numRuns: 2000 })
  fc.assert(
    fc.property(fc.json(), (text) => check(Buffer.from(text))),
    { numRuns: 1000 },
  )
  const whole = Buffer.from(format(FILE))
  const mutant = fc
    .tuple(fc.nat(whole.length - 1), fc.nat(255))
    .map(([at, byte]) => Uint8Array.from(whole, (old, i) => (i === at ? byte : old)))
  fc.assert(fc.property(mutant, check), { numRuns: 2000 })
})

test('times without a zone are UTC', () => {
  assert.equal(parseInstant('2026-01-01T00:00:00.123456'), NOW + 123)
  assert.equal(parseInstant('2026-01-01T01:00:00+01:00'), NOW)
  assert.equal(parseInstant('2026-01-01 00:00:00'), NOW)
  assert.equal(parseInstant('2026-01-01T00:00:00.5'), NOW + 500)
  assert.equal(parseInstant('2026-01-01T00:00:00.000000001Z'), NOW)
  assert.equal(parseInstant('2025-12-31T19:00:00.25-05:00'), NOW + 250)
  for (const none of ['2026-13-01T00:00:00', '2026-01-01', '2026-01-01T00:00:00.', 'x2026-01-01T00:00:00', ''])
    assert.equal(parseInstant(none), null, none)
  assert.equal(parseInstant('2026-01-01T00:00:00.1234567890'), null)
})
