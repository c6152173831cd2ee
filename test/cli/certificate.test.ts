import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, type X509Certificate } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readCertificateFacts, readCertificates } from '../../services/core/fleet/certificate-parser.ts'
import { type Clock, systemClock } from '../../services/core/runtime/clock.ts'
import { recordingLog } from '../../services/core/runtime/log.ts'
import { readCredentials } from '../../services/core/spool/credentials.ts'
import { openStore } from '../../services/core/store/open-store.ts'
import { makeCertificate } from '../bridge/certificate.ts'
import { type Outcome, run } from './run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-certificate-test-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const { PATH } = process.env
const DAY_MS = 86_400_000
const NOW = Date.parse('2026-01-01T00:00:00Z')

function at(wall: number): Clock {
  return { now: () => systemClock.now(), sleep: (ms, signal) => systemClock.sleep(ms, signal), wall: () => wall }
}

function s2(argv: readonly string[], wall = NOW, env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const common = {
    ...(PATH === undefined ? {} : { PATH }),
    HOME: folder,
    TMPDIR: folder,
    S2_STATE: join(folder, 'state'),
  }
  return run([argv[0] === 'show' ? 'certificate' : 'keys', ...argv], {
    clock: at(wall),
    env: { ...common, ...env },
    folder,
  })
}

function read(where: string, name: string): string {
  return readFileSync(join(where, name), 'utf8')
}

/** Makes a named pipe that nobody writes to. */
function pipe(path: string): string {
  execFileSync('mkfifo', [path])
  return path
}

test('it makes an authority and a certificate that it signs, with every name in it', async () => {
  const where = join(folder, 'etc/tls')
  mkdirSync(join(folder, 'etc'))
  const { code, out, err } = await s2([
    'tls',
    '--name',
    'Bridge.example.org',
    '--name',
    '10.0.0.5',
    '--name',
    'FD00::5',
    '--folder',
    where,
  ])
  assert.equal(code, 0, err)
  for (const line of ['S2_TLS_CERT=', 'S2_TLS_KEY=', 'S2_TLS_CA=']) assert.ok(out.includes(`${line}${where}/`), out)
  const [bridge, behind] = readCertificates(read(where, 'bridge.crt')) as [X509Certificate, X509Certificate]
  const [authority] = readCertificates(read(where, 'ca.crt')) as [X509Certificate]
  assert.equal(behind.fingerprint256, authority.fingerprint256, 'the chain is whole')
  assert.ok(bridge.verify(authority.publicKey) && authority.ca && !bridge.ca)
  assert.ok(bridge.checkPrivateKey(createPrivateKey(read(where, 'bridge.key'))))
  const facts = readCertificateFacts(read(where, 'bridge.crt'))
  assert.deepEqual(facts.names, ['bridge.example.org', '10.0.0.5', 'fd00::5'])
  assert.deepEqual([facts.notBefore, facts.notAfter], [NOW - DAY_MS, NOW + 730 * DAY_MS])
  assert.equal(readCertificateFacts(read(where, 'ca.crt')).notAfter, NOW + 3650 * DAY_MS)
  const mode = (path: string): number => statSync(path).mode & 0o777
  assert.equal(mode(where), 0o750)
  assert.deepEqual(
    ['ca.crt', 'ca.key', 'bridge.crt', 'bridge.key'].map((name) => mode(join(where, name))),
    [0o644, 0o600, 0o644, 0o640],
  )
  assert.deepEqual(readdirSync(where).sort(), ['bridge.crt', 'bridge.key', 'ca.crt', 'ca.key'], 'nothing else is left')
  assert.ok(!readdirSync(folder).some((name) => name.startsWith('s2-certificate-')), 'nor elsewhere')
})

test('created again it is the same authority and key with a new end, and more names', async () => {
  const where = join(folder, 'again')
  assert.equal((await s2(['tls', '--name', 'one.test', '--folder', where])).code, 0)
  const before = ['ca.crt', 'ca.key', 'bridge.key'].map((name) => read(where, name))
  const later = NOW + 800 * DAY_MS
  const { code, out, err } = await s2(['tls', '--name', 'two.test', '--folder', where, '--json'], later)
  assert.equal(code, 0, err)
  const said = JSON.parse(out) as { names: string[]; isNewAuthority: boolean; next: string[]; expiresAt: string }
  assert.deepEqual(said.names, ['one.test', 'two.test'])
  assert.equal(said.isNewAuthority, false)
  assert.match(said.next.join(), /within a minute/)
  assert.deepEqual(
    ['ca.crt', 'ca.key', 'bridge.key'].map((name) => read(where, name)),
    before,
  )
  assert.equal(Date.parse(said.expiresAt), later + 730 * DAY_MS)
  // The authority's own end bounds it.
  assert.equal((await s2(['tls', '--folder', where], NOW + 3600 * DAY_MS)).code, 0)
  assert.equal(readCertificateFacts(read(where, 'bridge.crt')).notAfter, NOW + 3650 * DAY_MS)
  const over = await s2(['tls', '--folder', where], NOW + 3651 * DAY_MS)
  assert.match(over.err, /authority \S+ca\.crt has expired\n {2}next: move .* every worker needs a new credential/)
})

test('without a folder it is the one of the certificate that is in force', async () => {
  const where = join(folder, 'in-force')
  assert.equal((await s2(['tls', '--name', 'one.test', '--folder', where])).code, 0)
  const env = { S2_TLS_CERT: join(where, 'bridge.crt'), S2_TLS_KEY: join(where, 'bridge.key') }
  assert.equal((await s2(['tls', '--name', 'two.test'], NOW, env)).code, 0)
  assert.deepEqual(readCertificateFacts(read(where, 'bridge.crt')).names, ['one.test', 'two.test'])
})

test('what somebody else made is neither overwritten nor built upon', async () => {
  const where = join(folder, 'foreign')
  mkdirSync(where)
  const put = (name: string, text: string): void => writeFileSync(join(where, name), text)
  const refused = async (why: RegExp): Promise<void> => {
    const files = readdirSync(where).map((name) => read(where, name))
    const { code, err } = await s2(['tls', '--name', 'one.test', '--folder', where])
    assert.equal(code, 1)
    assert.match(err, why)
    assert.deepEqual(
      readdirSync(where).map((name) => read(where, name)),
      files,
    )
  }
  const { cert, key } = makeCertificate(new Date(NOW))
  put('bridge.crt', cert)
  await refused(/bridge\.crt was not signed by an authority that is kept here\n {2}next: renew it where it was made/)
  put('ca.crt', makeCertificate(new Date(NOW)).cert)
  await refused(/ca\.crt exists, but its key \S+ca\.key does not\n {2}next: put the key back/)
  put('ca.key', key)
  await refused(/ca\.key is not the key of/)
  put('ca.key', 'scribble')
  await refused(/ca\.key cannot be used/)
  put('ca.crt', 'scribble')
  rmSync(join(where, 'ca.key'))
  rmSync(join(where, 'bridge.crt'))
  const { code, err } = await s2(['tls', '--name', 'one.test', '--folder', where])
  assert.equal(code, 1, 'an authority that cannot be read is none to overwrite')
  assert.match(err, /ca\.crt holds no certificate in PEM/)
  assert.equal(read(where, 'ca.crt'), 'scribble')
})

test('a run that was ended half-way is finished by the next one', async () => {
  const where = join(folder, 'half')
  assert.equal((await s2(['tls', '--name', 'one.test', '--folder', where])).code, 0)
  const caKey = read(where, 'ca.key')
  for (const name of ['ca.crt', 'bridge.crt', 'bridge.key']) rmSync(join(where, name))
  assert.equal((await s2(['tls', '--name', 'one.test', '--folder', where])).code, 0)
  assert.equal(read(where, 'ca.key'), caKey)
  rmSync(join(where, 'bridge.crt'))
  assert.equal((await s2(['tls', '--name', 'one.test', '--folder', where])).code, 0)
})

test('names that are none, and openssl that is missing, are told with what to do', async () => {
  for (const name of [
    'https://x.test',
    'x.test:7433',
    'x y',
    'x\ny',
    '1.2.3',
    'a'.repeat(64),
    '-x.test',
    '',
    '$x',
    'x.test,IP:1.1.1.1',
  ]) {
    const { code, err } = await s2(['tls', '--name', name, '--folder', join(folder, 'none')])
    assert.equal(code, 1, name)
    assert.match(err, /is not a name or address of a host\n {2}next: name the host as workers will/)
  }
  assert.match((await s2(['tls', '--folder', join(folder, 'none')])).err, /a certificate needs a name/)
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const { code, err } = await s2(['tls', '--name', 'x.test', '--folder', join(folder, 'none')], NOW, { PATH: bin })
  assert.equal(code, 1)
  assert.match(err, /openssl is missing.*\n {2}next: sudo apt-get install openssl/)
  assert.deepEqual(readdirSync(join(folder, 'none')), [])
})

test('the group of the folder may read what services need', { skip: process.getuid?.() !== 0 }, async () => {
  const etc = join(folder, 'owned')
  mkdirSync(etc)
  chownSync(etc, 0, 54_321)
  const where = join(etc, 'tls')
  assert.equal((await s2(['tls', '--name', 'one.test', '--folder', where])).code, 0)
  for (const path of [where, join(where, 'bridge.key'), join(where, 'bridge.crt')]) {
    const { uid, gid } = statSync(path)
    assert.deepEqual([uid, gid], [0, 54_321], path)
  }
  chmodSync(where, 0o700)
  assert.equal((await s2(['tls', '--folder', where])).code, 0)
  assert.equal(statSync(where).mode & 0o777, 0o700, 'a folder that is there stays as it is')
})

test('show tells who signed it, for which names, how long it counts and whether the key fits', async () => {
  const where = join(folder, 'shown')
  await s2(['tls', '--name', 'one.test', '--folder', where])
  const path = join(where, 'bridge.crt')
  const good = await s2(['show', path])
  assert.equal(good.code, 0, good.err)
  assert.match(good.out, /names +one\.test\nsigned by +S2 authority [0-9a-f]{8}, an authority of your own.*\n/)
  assert.match(good.out, /valid +until 2028-01-01, 730 days left\nkey +\S+bridge\.key fits\n$/)
  const shown = async (wall: number, ...rest: string[]): Promise<Record<string, unknown>> => {
    const { code, out } = await s2(['show', ...rest, '--json'], wall, {
      S2_TLS_CERT: path,
      S2_TLS_KEY: join(where, 'bridge.key'),
    })
    return { code, ...(JSON.parse(out) as Record<string, unknown>) }
  }
  const soon = await shown(NOW + 720 * DAY_MS)
  assert.deepEqual([soon.code, soon.usable, soon.trouble], [0, true, 'it expires on 2028-01-01, in 10 days'])
  const over = await shown(NOW + 730 * DAY_MS)
  assert.deepEqual([over.code, over.usable, over.trouble], [1, false, 'it has expired on 2028-01-01'])
  assert.match(String(over.next), /s2 keys tls renews/)
  assert.equal((await shown(NOW - 2 * DAY_MS)).trouble, 'it is not valid before 2025-12-31T00:00:00.000Z')
  const other = join(folder, 'other.key')
  writeFileSync(other, makeCertificate(new Date()).key)
  assert.match(String((await shown(NOW, '--key', other)).trouble), /its key \S+other\.key does not fit/)
  assert.equal((await shown(NOW, '--key', join(folder, 'nowhere.key'))).code, 1)
  const own = join(folder, 'own.pem')
  writeFileSync(own, makeCertificate(new Date(NOW)).cert)
  const self = await shown(NOW, own)
  assert.deepEqual([self.code, self.signature, self.subject], [0, 'itself', 'localhost'])
  for (const bad of [join(folder, 'nowhere.crt'), other, pipe(join(folder, 'pipe')), folder]) {
    const { code, err } = await s2(['show', bad])
    assert.equal(code, 64)
    assert.match(err, /cannot be read \((ENOENT|NOT_A_FILE|EISDIR)\)|holds no certificate in PEM/)
  }
  rmSync(join(where, 'bridge.key'))
  const keyless = await shown(NOW)
  assert.deepEqual([keyless.code, keyless.usable], [1, false], 'the bridge would miss the key that is set')
})

test('the authority goes into the credentials of this host, and stays in them', async () => {
  const where = join(folder, 'given')
  await s2(['tls', '--name', 'one.test', '--folder', where])
  const ca = read(where, 'ca.crt')
  const state = join(folder, 'orchestrator')
  const made = await openStore(`sqlite:${join(state, 'bridge.db')}`, {
    ...{ clock: systemClock, chance: Math.random, log: recordingLog() },
  })
  await made[Symbol.asyncDispose]()
  const command = async (argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> => {
    const common = { PATH, HOME: folder, S2_STATE: state, S2_STORE: `sqlite:${join(state, 'bridge.db')}` }
    return await run(argv, { env: { ...common, ...env }, folder })
  }
  const create = ['conversation', 'create', '--role-b', 'reviewer', '--agent-b', 'my-script', '--show-tokens']
  for (const [file, why] of [
    [join(where, 'ca.key'), /S2_TLS_CA=\S+ca\.key holds a private key/],
    [pipe(join(folder, 'ca-pipe')), /S2_TLS_CA=\S+ cannot be read \(NOT_A_FILE\)/],
    [join(folder, 'nowhere.pem'), /S2_TLS_CA=\S+ cannot be read \(ENOENT\)/],
  ] as const) {
    const { code, err } = await command(create, { S2_TLS_CA: file })
    assert.equal(code, 78)
    assert.match(err, why)
  }
  assert.deepEqual(JSON.parse((await command(['conversation', 'list', '--json'])).out), [], 'no channel was opened')
  const set = { S2_TLS_CA: join(where, 'ca.crt'), S2_BRIDGE_URL: 'https://one.test:7433' }
  const opened = await command([...create, '--json'], set)
  assert.equal(opened.code, 0, opened.err)
  const own = async () => (await readCredentials(state)).credentials[0]
  const first = await own()
  assert.deepEqual([first?.bridgeCa, first?.bridgeUrl], [ca, 'https://one.test:7433'])
  // Rotated by somebody who has neither setting: both are carried on.
  assert.equal((await command(['credential', 'rotate', first?.session ?? ''])).code, 0)
  const second = await own()
  assert.notEqual(second?.token, first?.token)
  assert.deepEqual([second?.bridgeCa, second?.bridgeUrl], [ca, 'https://one.test:7433'])
})
