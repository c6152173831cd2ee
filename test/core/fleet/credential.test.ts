import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  authorityAt,
  CREDENTIAL_FILE_MAX,
  type Credential,
  parseCredentialFile,
  parseInstant,
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
    ['', /has no bridge_ca/],
    [7.5, /has no bridge_ca/],
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

test('worker 10 never gets the credential of worker 1, nor the other way round', () => {
  assert.throws(() => parse(format(FILE), 's2-worker-10'), code('forbidden'))
  assert.throws(() => parse(changed({ worker_id: 's2-worker-10' })), code('forbidden'))
  assert.equal(parse(changed({ worker_id: 1 })).agent, 's2-worker-1')
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
  assert.equal(parseInstant('2026-13-01T00:00:00'), null)
})
