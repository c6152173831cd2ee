/** The list of a fleet's credentials counts as it was signed, or not at all. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { before, test } from 'node:test'
import { type Identity, signFields } from '#fleet/identity.ts'
import { makeIdentity } from '#identity/identity-file.ts'
import { entryFor, formatManifest, MANIFEST_PATH, type Manifest, readManifest, sha256Of } from '#identity/manifest.ts'

let orchestrator: Identity
let host: Identity
before(async () => {
  orchestrator = await makeIdentity()
  host = await makeIdentity()
})

const read = (text: string | Uint8Array, key = orchestrator.key): Manifest => readManifest(Buffer.from(text), key)

/** A list of any form, signed by the orchestrator all the same: who signs may err. */
function signedAsIs(fields: object): string {
  return JSON.stringify({ ...fields, signature: signFields(orchestrator, 's2-manifest/1', fields) })
}

function lists(): Manifest {
  return {
    serial: 5,
    files: [
      entryFor('credentials/b.json', host.key, 1, 'content of b'),
      entryFor('credentials/a.json', orchestrator.key, 2, 'content of a'),
      entryFor('credentials/c-3.json', host.key, 3, 'content of c'),
    ],
  }
}

test('what is listed is read back, in the order of the paths, whatever the order before', () => {
  const { serial, files } = lists()
  const [b, a, c] = files
  assert.deepEqual(read(formatManifest({ serial, files }, orchestrator)), { serial, files: [a, b, c] })
  const other = formatManifest({ serial, files: files.toReversed() }, orchestrator)
  assert.equal(other, formatManifest({ serial, files }, orchestrator))
  assert.deepEqual(read(formatManifest({ serial: 0, files: [] }, orchestrator)), { serial: 0, files: [] })
})

test('an entry names the content by its SHA-256', () => {
  const sha256 = createHash('sha256').update('content').digest('hex')
  assert.deepEqual(entryFor('credentials/a.json', host.key, 7, 'content'), {
    path: 'credentials/a.json',
    key: host.key,
    serial: 7,
    sha256,
  })
  assert.equal(sha256Of(Buffer.from('content')), sha256)
})

test('a list that another key signed, or that was changed, is refused', () => {
  const text = formatManifest(lists(), orchestrator)
  const refusal = { code: 'unauthenticated', message: /not signed by the orchestrator/ }
  assert.throws(() => read(text, host.key), refusal)
  assert.throws(() => read(formatManifest(lists(), host)), refusal)
  const whole = JSON.parse(text)
  const [first, ...rest] = whole.files
  const changed = [
    { ...whole, serial: 6 },
    { ...whole, files: rest },
    { ...whole, files: [...whole.files, first] },
    { ...whole, signature: undefined },
    ...[{ path: 'credentials/x.json' }, { key: orchestrator.key }, { serial: 9 }, { sha256: '0'.repeat(64) }].map(
      (change) => ({ ...whole, files: [{ ...whole.files[1], ...change }, first, ...rest.slice(1)] }),
    ),
  ]
  for (const each of changed) assert.throws(() => read(JSON.stringify(each)), refusal, JSON.stringify(each))
})

test('a list of another form is refused, though it is signed', () => {
  const { serial, files } = lists()
  const [entry] = files
  const whole = { format: 's2-manifest/1', serial, files: [entry] }
  assert.equal(read(signedAsIs(whole)).files.length, 1, 'the signature of this test is right')
  const odd = [
    { ...whole, format: 's2-manifest/2' },
    { ...whole, files: { length: 0 } },
    { ...whole, serial: '5' },
    { ...whole, serial: 1.5 },
    { ...whole, files: [null] },
    { ...whole, files: ['credentials/a.json'] },
    { ...whole, files: [entry, {}] },
  ]
  const entries = [
    { path: '../../etc/passwd' },
    { path: 'credentials/../x.json' },
    { path: 'x/credentials/a.json' },
    { path: 'credentials/a.json/x' },
    { path: ['credentials/a.json'] },
    { key: 'short' },
    { key: [host.key] },
    { serial: '1' },
    { sha256: 'A'.repeat(64) },
    { sha256: '0'.repeat(63) },
    { sha256: ['0'.repeat(64)] },
  ].map((change) => ({ ...whole, files: [{ ...entry, ...change }] }))
  for (const each of [...odd, ...entries]) {
    const refusal = { code: 'invalid', message: /is none of the form s2-manifest\/1/ }
    assert.throws(() => read(signedAsIs(each)), refusal, JSON.stringify(each))
  }
})

test('a list with bytes that are no UTF-8 cannot be read, even where nobody signed them', () => {
  const text = formatManifest(lists(), orchestrator)
  const noted = (note: Buffer): Buffer =>
    Buffer.concat([Buffer.from('{"note": "'), note, Buffer.from(`",${text.slice(1)}`)])
  assert.equal(read(noted(Buffer.from('x'))).serial, 5)
  assert.throws(() => read(noted(Buffer.from([0xff]))), { code: 'invalid', message: /cannot be read/ })
})

test('what is no JSON object in UTF-8 cannot be read, and is said to be the list', () => {
  for (const rubbish of ['', '[]', 'null', '"x"', '{', Buffer.from([0x7b, 0xff, 0x7d])]) {
    const refusal = {
      code: 'invalid',
      message: new RegExp(`${MANIFEST_PATH}\\) cannot be read`),
      next: /writes to the remote/,
    }
    assert.throws(() => read(rubbish), refusal)
  }
})
