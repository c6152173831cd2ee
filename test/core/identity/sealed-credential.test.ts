/** A published credential counts where it is signed, sealed to this host, of this bridge, and no step back. */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { CREDENTIAL_FILE_MAX, type Credential } from '#fleet/credential.ts'
import { type Identity, signFields } from '#fleet/identity.ts'
import { sessionId } from '#fleet/session-id.ts'
import { seal } from '#identity/age-seal.ts'
import { type HostIdentity, makeIdentity } from '#identity/identity-file.ts'
import {
  CLOCK_TOLERANCE_MS,
  checkSerial,
  OlderCredential,
  openSealedCredential,
  type SealedReader,
  sealCredential,
} from '#identity/sealed-credential.ts'
import { makeCertificate } from '../../bridge/certificate.ts'

const NOW = Date.UTC(2026, 0)
const CREDENTIAL: Credential = {
  session: sessionId('conv_00000000000000aa', 'b'),
  token: 'worker-token-for-a-test',
  agent: 's2-worker-3',
  role: 'tests',
  bridgeUrl: 'https://bridge.example.org',
  createdAt: NOW,
  expiresAt: NOW + 3_600_000,
}
let orchestrator: Identity
let host: HostIdentity
before(async () => {
  orchestrator = await makeIdentity()
  const bridgeUrl = 'https://bridge.example.org/path'
  const membership = { agent: 's2-worker-3', orchestrator, bridgeUrl, remote: null, branch: 'main' }
  host = { ...(await makeIdentity()), membership }
})

const published = (over: Partial<Credential> = {}, recipient = host.recipient): Promise<string> =>
  sealCredential({ ...CREDENTIAL, ...over }, recipient, orchestrator)

function open(content: string | Uint8Array, over: Partial<SealedReader> = {}): Promise<Credential> {
  return openSealedCredential(Buffer.from(content), { identity: host, now: NOW, heldSerial: 0, ...over })
}

/** A file of any fields, signed by the orchestrator all the same. */
async function signedAsIs(change: object, format = 's2-credential/2'): Promise<string> {
  const { signature, ...whole } = JSON.parse(await published())
  assert.ok(signature)
  const fields = { ...whole, format, ...change }
  return JSON.stringify({ ...fields, signature: signFields(orchestrator, format, fields) })
}

test('what is sealed for a host is opened there, with all that it holds', async () => {
  assert.deepEqual(await open(await published()), CREDENTIAL)
  const { cert } = makeCertificate(new Date(NOW))
  const access = { bridgeCa: cert, bridgePin: `${'A'.repeat(43)}=` }
  assert.deepEqual(await open(await published(access)), { ...CREDENTIAL, ...access })
})

test('the file names the worker, its serial and its recipient, and shows nothing else', async () => {
  const text = await published()
  const { format, worker, serial, issued, recipient } = JSON.parse(text)
  assert.deepEqual([format, worker, serial], ['s2-credential/2', 's2-worker-3', NOW])
  assert.deepEqual([issued, recipient], ['2026-01-01T00:00:00.000Z', host.recipient])
  assert.deepEqual(Object.keys(JSON.parse(text)), [
    'format',
    'worker',
    'serial',
    'issued',
    'recipient',
    'sealed',
    'signature',
  ])
  for (const secret of [CREDENTIAL.token, 'conv_', 'bridge.example.org']) assert.ok(!text.includes(secret), secret)
})

test('a host that is no worker, and one that it is not sealed to, opens nothing', async () => {
  const text = await published()
  await assert.rejects(open(text, { identity: { ...host, membership: null } }), {
    code: 'forbidden',
    next: /worker join/,
  })
  const other = { ...(await makeIdentity()), membership: host.membership }
  await assert.rejects(open(text, { identity: other }), { code: 'forbidden', next: /worker invite/ })
  const poisoned = await signedAsIs({ sealed: await seal('{}', other.recipient) })
  await assert.rejects(open(poisoned), { code: 'invalid', message: /cannot be opened with the key of this host/ })
})

test('what the orchestrator has not signed is refused before it is opened', async () => {
  const whole = JSON.parse(await published())
  const refusal = { code: 'unauthenticated', message: /not signed by the orchestrator/ }
  const sealed = await seal('{}', host.recipient)
  for (const change of [
    { worker: 's2-worker-4' },
    { serial: NOW + 1 },
    { issued: '2026-01-01T00:00:00.001Z' },
    { recipient: orchestrator.recipient },
    { sealed },
    { signature: undefined },
    { signature: `${'A'.repeat(86)}` },
  ])
    await assert.rejects(open(JSON.stringify({ ...whole, ...change })), refusal, Object.keys(change).join())
  await assert.rejects(open(await sealCredential(CREDENTIAL, host.recipient, host)), refusal)
})

test('a file of another form is refused, though it is signed', async () => {
  const form = { code: 'invalid', message: /is no sealed credential \(s2-credential\/2\)/ }
  await assert.rejects(open(await signedAsIs({}, 's2-credential/1')), form)
  for (const serial of [0, -1, 1.5, '1', null, 2 ** 53]) {
    const time = { code: 'invalid', message: /has a serial that is no time/ }
    await assert.rejects(open(await signedAsIs({ serial })), time, String(serial))
  }
  await assert.rejects(open(await signedAsIs({ serial: 1 })), { code: 'invalid', message: /another serial within/ })
  await assert.rejects(open(''), { code: 'invalid', message: 'the credential is empty' })
  await assert.rejects(open('[]'), { code: 'invalid', message: /is not a JSON object/ })
  await assert.rejects(open(Buffer.from([0x7b, 0xff, 0x7d])), { code: 'invalid', message: /is not UTF-8/ })
})

test('a file may have so many bytes and no more', async () => {
  const text = await published()
  const padding = ' '.repeat(CREDENTIAL_FILE_MAX - text.length)
  assert.deepEqual(await open(text + padding), CREDENTIAL)
  const large = { code: 'too_large', message: /has 65537 bytes; 65536 are allowed/ }
  await assert.rejects(open(`${text}${padding} `), large)
})

test('a credential for another bridge than the one of the invitation is refused; a path of it does not count', async () => {
  for (const bridgeUrl of ['https://evil.example.org', 'http://bridge.example.org', 'https://bridge.example.org:8443'])
    await assert.rejects(open(await published({ bridgeUrl })), { code: 'forbidden', next: /worker invite/ }, bridgeUrl)
  assert.equal((await open(await published({ bridgeUrl: 'https://bridge.example.org/' }))).createdAt, NOW)
})

test('a worker that was sealed another one’s credential gets neither', async () => {
  await assert.rejects(open(await signedAsIs({ worker: 's2-worker-30' })), { code: 'forbidden' })
})

test('no serial goes back, and none lies further ahead than clocks differ', async () => {
  const text = await published()
  assert.deepEqual(await open(text, { heldSerial: NOW }), CREDENTIAL)
  await assert.rejects(open(text, { heldSerial: NOW + 1 }), (error) => {
    assert.ok(error instanceof OlderCredential)
    assert.equal(error.code, 'conflict')
    assert.match(
      error.message,
      /of 2026-01-01T00:00:00\.000Z, older than the one in force of 2026-01-01T00:00:00\.001Z/,
    )
    return true
  })
  assert.deepEqual(await open(text, { now: NOW - CLOCK_TOLERANCE_MS }), CREDENTIAL)
  await assert.rejects(open(text, { now: NOW - CLOCK_TOLERANCE_MS - 1 }), { code: 'invalid', next: /timedatectl/ })
  await assert.rejects(open(text, { now: NOW + 3_600_000 }), { code: 'expired' })
  assert.equal(checkSerial(5, 5, 5), undefined)
  assert.throws(() => checkSerial(4, 5, 5), OlderCredential)
})
