import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import type { S2Error } from '#fleet/errors.ts'
import { areSignedBy, fingerprint, signFields } from '#fleet/identity.ts'
import { sessionId } from '#fleet/session-id.ts'
import { ensureIdentity, type HostIdentity, identityFile, makeIdentity, readIdentity } from '#identity/identity-file.ts'
import {
  formatInvitation,
  formatJoinRequest,
  makeJoinRequest,
  makeSecret,
  openJoinRequest,
  parseInvitation,
  parseJoinRequest,
} from '#identity/joining.ts'
import { entryFor, formatManifest, readManifest } from '#identity/manifest.ts'
import { openSealedCredential, sealCredential } from '#identity/sealed-credential.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-identity-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const NOW = Date.UTC(2026, 0)
let orchestrator: HostIdentity
let host: HostIdentity
before(async () => {
  orchestrator = { ...(await makeIdentity()), membership: null }
  host = {
    ...(await makeIdentity()),
    membership: {
      agent: 's2-worker-3',
      orchestrator,
      bridgeUrl: 'https://bridge.example.org',
      remote: 'ssh://git@host/x y.git',
      branch: 'main',
    },
  }
})

test('keys are made once, kept for their owner alone, and refused where others may read them', async () => {
  const made = await ensureIdentity(folder)
  assert.deepEqual(await ensureIdentity(folder), made)
  const path = identityFile(folder)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  chmodSync(path, 0o640)
  await assert.rejects(readIdentity(path), { code: 'invalid', next: /chmod 600/ })
  chmodSync(path, 0o600)
  writeFileSync(path, '{"key": "short"}')
  await assert.rejects(readIdentity(path), { code: 'invalid', message: /does not hold the keys/ })
  await assert.rejects(ensureIdentity(folder), { code: 'invalid' }, 'a damaged file is not replaced by new keys')
  assert.equal(await readIdentity(join(folder, 'none')), null)
})

test('what is wrong with the file decides the advice, and nobody is led to destroy the key of a fleet', async () => {
  const path = join(folder, 'advice.json')
  const advice = async (text: string): Promise<string> => {
    writeFileSync(path, text, { mode: 0o600 })
    return await readIdentity(path).then(
      () => 'none',
      ({ next }: S2Error) => next ?? 'none',
    )
  }
  const { signingKey, ...cut } = host
  assert.ok(signingKey)
  assert.match(await advice(JSON.stringify(cut)), /^restore it from a backup, or remove it and have this host invited/)
  for (const text of ['{', '', '[]', '{}', JSON.stringify({ ...cut, membership: null }), '{"membership": {}}'])
    assert.match(await advice(text), /^restore it from a backup, and remove it from no orchestrator's host/, text)
  await assert.rejects(ensureIdentity(join(path, 'not a folder')))
})

test('keys that this user may not read are called for as their owner, and are not removed', {
  skip: process.getuid?.() !== 0,
}, () => {
  const other = mkdtempSync('/tmp/s2-keys-') // not in the folder of this run, which no other user may enter
  const script = `
    import { readIdentity } from '${process.cwd()}/services/core/identity/identity-file.ts'
    process.setgid(20001); process.setuid(20001)
    await readIdentity(process.argv[1]).catch(({ code, message, next }) => console.log(JSON.stringify({ code, message, next })))`
  try {
    chmodSync(other, 0o755)
    for (const [path, mode] of [
      [join(other, 'identity.json'), 0o755],
      [join(other, 'closed', 'identity.json'), 0o700],
    ] as const) {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, '{}', { mode: 0o600 })
      chmodSync(dirname(path), mode)
      const said = JSON.parse(
        execFileSync(process.execPath, ['--input-type=module', '-e', script, path], { encoding: 'utf8' }),
      )
      assert.equal(said.code, 'invalid')
      assert.match(said.message, /identity\.json may not be read/)
      assert.match(said.next, /as the user of the services, or as root \(sudo\)/)
      assert.doesNotMatch(said.next, /remove/)
    }
  } finally {
    rmSync(other, { recursive: true })
  }
})

test('programs that need the keys of a host at once get the same ones', async () => {
  const state = join(folder, 'at once')
  const made = await Promise.all(Array.from({ length: 20 }, () => ensureIdentity(state)))
  assert.equal(new Set(made.map(({ key }) => key)).size, 1)
  assert.deepEqual(readdirSync(state, { recursive: true }), ['keys', 'keys/identity.json'])
})

test('what is signed as one kind counts as no other, and one changed byte is found', () => {
  const fields = { a: 1, b: 'x' }
  const signature = signFields(orchestrator, 'kind/1', fields)
  assert.ok(areSignedBy(orchestrator.key, 'kind/1', fields, signature))
  assert.ok(!areSignedBy(orchestrator.key, 'kind/2', fields, signature))
  assert.ok(!areSignedBy(host.key, 'kind/1', fields, signature))
  assert.ok(!areSignedBy(orchestrator.key, 'kind/1', { a: 1, b: 'y' }, signature))
  fc.assert(fc.property(fc.string(), fc.string(), (key, text) => !areSignedBy(key, 'kind/1', fields, text)))
  assert.match(fingerprint(host.key), /^SHA256:[\w-]{22}$/)
})

test('an invitation is a line that terminals may break, and no part of it may be missing', () => {
  const { secret } = makeSecret()
  const invitation = {
    agent: 's2-worker-3',
    orchestrator: { key: orchestrator.key, recipient: orchestrator.recipient },
    bridgeUrl: 'https://bridge.example.org',
    remote: null,
    branch: 'main',
    secret,
    endsAt: NOW + 1,
  }
  const line = formatInvitation(invitation)
  assert.deepEqual(parseInvitation(line, NOW), invitation)
  assert.deepEqual(parseInvitation(`  ${line.slice(0, 60)}\n  ${line.slice(60)}\n`, NOW), invitation)
  assert.throws(() => parseInvitation(line, NOW + 1), { code: 'expired' })
  for (let cut = 0; cut < line.length; cut += 1)
    assert.throws(() => parseInvitation(line.slice(0, cut), NOW), { code: 'invalid' })
  const odd = [
    { remote: '--upload-pack=touch /x' },
    { remote: 'https://user:word@h/r.git' },
    { branch: '--upload-pack=x' },
    { branch: 'main:refs/heads/two' },
  ]
  for (const each of odd)
    assert.throws(() => parseInvitation(formatInvitation({ ...invitation, ...each }), NOW), { code: 'invalid' })
})

test('a request to join is read by the orchestrator alone, and only whole', async () => {
  const { secret, secretHash } = makeSecret()
  const invitation = {
    agent: 's2-worker-3',
    orchestrator,
    bridgeUrl: 'https://bridge.example.org',
    remote: null,
    branch: 'main',
    secret,
    endsAt: NOW,
  }
  const { sealed } = await makeJoinRequest(invitation, host, 'box')
  assert.ok(!sealed.includes(secret))
  const carried = parseJoinRequest(formatJoinRequest(sealed))
  assert.deepEqual(await openJoinRequest(carried, orchestrator), {
    agent: 's2-worker-3',
    secretHash,
    key: host.key,
    recipient: host.recipient,
    host: 'box',
  })
  await assert.rejects(openJoinRequest(sealed, host), { code: 'invalid' })
  const poisoned = await makeJoinRequest(invitation, { ...host, recipient: `age1${'q'.repeat(58)}` }, 'box')
  await assert.rejects(openJoinRequest(poisoned.sealed, orchestrator), {
    code: 'invalid',
    message: /nothing can be sealed/,
  })
  const bytes = Buffer.from(sealed, 'base64')
  for (const at of [0, 20, 100, bytes.length - 1]) {
    const altered = Buffer.from(bytes)
    altered[at] = (altered[at] ?? 0) ^ 1
    await assert.rejects(openJoinRequest(altered.toString('base64'), orchestrator), { code: 'invalid' })
  }
})

test('a sealed credential opens at its host alone; altered anywhere it opens nowhere', async () => {
  const credential = {
    session: sessionId('conv_00000000000000aa', 'b'),
    token: 'worker-token-for-a-test',
    agent: 's2-worker-3',
    role: 'tests',
    bridgeUrl: 'https://bridge.example.org',
    createdAt: NOW,
    expiresAt: NOW + 3_600_000,
  }
  const file = Buffer.from(await sealCredential(credential, host.recipient, orchestrator))
  const at = { now: NOW, heldSerial: 0 }
  assert.deepEqual(await openSealedCredential(file, { ...at, identity: host }), credential)
  assert.ok(!file.toString().includes(credential.token))
  const other: HostIdentity = { ...(await makeIdentity()), membership: host.membership }
  await assert.rejects(openSealedCredential(file, { ...at, identity: other }), { code: 'forbidden' })
  await assert.rejects(openSealedCredential(file, { ...at, identity: orchestrator }), { code: 'forbidden' })
  await assert.rejects(openSealedCredential(file, { ...at, identity: host, heldSerial: NOW + 1 }), { code: 'conflict' })
  await assert.rejects(openSealedCredential(file, { now: NOW - 600_001, heldSerial: 0, identity: host }), {
    code: 'invalid',
    next: /clocks/,
  })
  await assert.rejects(openSealedCredential(file, { now: NOW + 3_600_000, heldSerial: 0, identity: host }), {
    code: 'expired',
  })
  await fc.assert(
    fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), async (place, change) => {
      const altered = Buffer.from(file)
      altered[place] = (altered[place] ?? 0) ^ change
      const opened = await openSealedCredential(altered, { ...at, identity: host }).catch(() => null)
      // White space between fields is not signed, and says nothing.
      assert.ok(opened === null || JSON.stringify(opened) === JSON.stringify(credential))
    }),
    { numRuns: 300 },
  )
})

test('a list of credentials is signed as a whole', () => {
  const files = [
    entryFor('credentials/b.json', host.key, 1, 'b'),
    entryFor('credentials/a.json', orchestrator.key, 2, 'a'),
  ]
  const text = formatManifest({ serial: 5, files }, orchestrator)
  assert.equal(readManifest(Buffer.from(text), orchestrator.key).serial, 5)
  assert.throws(() => readManifest(Buffer.from(text), host.key), { code: 'unauthenticated' })
  const { files: listed, ...rest } = JSON.parse(text) as { files: unknown[] }
  const shorter = JSON.stringify({ ...rest, files: listed.slice(1) })
  assert.throws(() => readManifest(Buffer.from(shorter), orchestrator.key), { code: 'unauthenticated' })
  for (const rubbish of ['', '[]', 'null', '{"files":[{}]}'])
    assert.throws(() => readManifest(Buffer.from(rubbish), orchestrator.key), { code: 'invalid' })
})
