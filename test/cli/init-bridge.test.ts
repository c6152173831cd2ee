import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createPlain } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createSilent, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { bridgeSettings, parseBridge } from '../../services/cli/init/bridge-address.ts'
import { probeBridge } from '../../services/cli/init/probe-bridge.ts'
import { makeCertificate } from '../../services/cli/make-certificate.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { freePort } from '../port.ts'
import { run } from './run-command.ts'

const root = mkdtempSync(join(tmpdir(), 's2-init-bridge-'))
after(() => rmSync(root, { recursive: true, force: true }))

const DAY_MS = 86_400_000

/** A certificate for these names, made so many days ago. */
async function certificate(name: string, names: readonly string[], daysAgo = 0) {
  const clock = { ...systemClock, wall: () => Date.now() - daysAgo * DAY_MS }
  const { files } = await makeCertificate({ folder: join(root, name), names }, { clock, env: process.env })
  const read = (path: string): string => readFileSync(path, 'utf8')
  return { files, cert: read(files.cert), key: read(files.key), ca: read(files.ca) }
}

async function serving<T>(server: Server, use: (port: number) => Promise<T>): Promise<T> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await use((server.address() as AddressInfo).port)
  } finally {
    server.close()
    if ('closeAllConnections' in server) (server as unknown as { closeAllConnections(): void }).closeAllConnections()
  }
}

const NEVER = new AbortController().signal

/** A bridge says of the path that is asked for that there is nothing. */
const BRIDGE = '{"code":"not_found"}'

test('an address says where the bridge listens, and what it is called', () => {
  const cases: [string, string, string | undefined][] = [
    ['bridge.example.org', 'https://bridge.example.org:7433', '0.0.0.0:7433'],
    ['bridge.example.org:8443', 'https://bridge.example.org:8443', '0.0.0.0:8443'],
    ['https://bridge.example.org:443', 'https://bridge.example.org:443', '0.0.0.0:443'],
    ['203.0.113.7', 'https://203.0.113.7:7433', '0.0.0.0:7433'],
    ['2001:db8::1', 'https://[2001:db8::1]:7433', '[::]:7433'],
    ['[2001:db8::1]:8443', 'https://[2001:db8::1]:8443', '[::]:8443'],
    ['127.0.0.1:8000', 'http://127.0.0.1:8000', '127.0.0.1:8000'],
    ['localhost', 'http://localhost:7433', undefined],
    ['127.0.0.2', 'http://127.0.0.2:7433', '127.0.0.2:7433'],
    ['::1', 'http://[::1]:7433', '[::1]:7433'],
  ]
  for (const [said, url, listen] of cases) {
    const address = parseBridge(said)
    assert.equal(address.url, url, said)
    assert.equal(bridgeSettings(address, 'own').S2_LISTEN, listen, said)
  }
  assert.deepEqual(bridgeSettings(parseBridge('https://bridge.example.org'), 'proxy'), {
    S2_BRIDGE_URL: 'https://bridge.example.org',
    S2_ALLOWED_HOSTS: 'bridge.example.org',
    S2_BEHIND_PROXY: 'yes',
  })
  for (const wrong of ['a b', 'a:0', 'a:65536', 'http://u:p@h', '-a', 'a/b', 'ftp://a', ''])
    assert.throws(() => parseBridge(wrong), /must/, wrong)
})

test('what is wrong with the way to a bridge is told apart, each with what to do', async () => {
  const good = await certificate('good', ['localhost', '127.0.0.1'])
  const old = await certificate('old', ['127.0.0.1'], 1_000)
  const other = await certificate('other', ['bridge.example.org'])
  const answering = (text: string) => (_: unknown, response: { end(text: string): void }) => response.end(text)
  const at = async (server: Server, ca: string | undefined, scheme = 'https') =>
    await serving(server, async (port) => await probeBridge(`${scheme}://127.0.0.1:${port}`, ca, systemClock, NEVER))
  const fails = async (found: ReturnType<typeof probeBridge>, why: RegExp): Promise<void> => {
    const reach = await found
    assert.ok(!reach.answers)
    assert.match(reach.why, why)
    assert.ok(reach.next.length > 0)
  }

  assert.deepEqual(await at(createServer(good, answering(BRIDGE)), good.ca), { answers: true })
  await fails(at(createServer(good, answering(BRIDGE)), undefined), /an authority that this host does not know/)
  await fails(at(createServer(good, answering(BRIDGE)), other.ca), /another authority/)
  await fails(at(createServer(old, answering(BRIDGE)), old.ca), /has expired/)
  await fails(at(createServer(other, answering(BRIDGE)), other.ca), /is for bridge\.example\.org, and not for/)
  await fails(at(createServer(good, answering('{"code":"forbidden"}')), good.ca), /does not accept this host name/)
  await fails(at(createServer(good, answering('<html>')), good.ca), /another server than the bridge/)
  await fails(at(createPlain(answering(BRIDGE)), undefined), /is not reached/)
  await fails(probeBridge(`https://127.0.0.1:${await freePort()}`, undefined, systemClock, NEVER), /ECONNREFUSED/)
  await fails(probeBridge('https://no-such-host.invalid:7433', undefined, systemClock, NEVER), /ENOTFOUND|EAI_AGAIN/)
  await fails(
    at(
      createSilent(() => undefined),
      undefined,
    ),
    /does not answer within 8 s/,
  )
})

/** Asks for the certificate of `name` at a terminal, and answers what was said and set. */
async function ask(folder: string, argv: readonly string[], answers: readonly string[]) {
  const left = [...answers]
  const screen = { isTerminal: true, columns: 80, rows: 24, coloured: false }
  const bin = mkdtempSync(join(root, 'bin'))
  writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  const env = { HOME: folder, PATH: `${bin}:${process.env.PATH}` }
  const options = ['--role', 'orchestrator', '--folder', folder, '--remote', '', '--wake', '', ...argv]
  const outcome = await run(['init', ...options], { env, screen, ask: async () => left.shift() ?? null })
  assert.deepEqual(left, [], 'more was answered than asked')
  return outcome
}

test('files of one’s own are tried as workers will meet them, and asked for again', async () => {
  const good = await certificate('mine', ['hub.example.org', 'bridge.example.org'])
  const other = await certificate('theirs', ['elsewhere.example.org'])
  const old = await certificate('late', ['bridge.example.org'], 1_000)
  const folder = mkdtempSync(join(root, 'etc'))
  const { code, err } = await ask(
    folder,
    ['--bridge-url', 'bridge.example.org'],
    [
      'files',
      ...[join(root, 'nowhere'), good.files.key],
      ...[good.files.cert, other.files.key],
      ...[old.files.cert, old.files.key],
      ...[other.files.cert, other.files.key, other.files.ca],
      ...[good.files.cert, good.files.key, good.files.ca],
    ],
  )
  assert.equal(code, 0, err)
  const faults = [
    /cannot read it/,
    /is not its key/,
    /it has expired/,
    /not known to other machines/,
    /is for elsewhere\.example\.org/,
  ]
  let rest = err
  for (const fault of faults) {
    assert.match(rest, fault)
    rest = rest.slice((fault.exec(rest)?.index ?? 0) + 1)
  }
  const written = readFileSync(join(folder, 's2.env'), 'utf8')
  assert.match(
    written,
    new RegExp(`S2_TLS_CERT=${good.files.cert}\nS2_TLS_KEY=${good.files.key}\nS2_TLS_CA=${good.files.ca}`),
  )
})

test('a port that only root may listen on is refused, a proxy has it', async () => {
  const folder = mkdtempSync(join(root, 'etc'))
  const own = await ask(folder, ['--bridge-url', 'bridge.example.org:443', '--certificate', 'own'], [])
  assert.equal(own.code, 64)
  assert.match(own.err, /cannot listen on port 443/)
  const proxy = await ask(folder, ['--bridge-url', 'https://bridge.example.org', '--certificate', 'proxy'], [])
  assert.equal(proxy.code, 0, proxy.err)
  assert.match(readFileSync(join(folder, 's2.env'), 'utf8'), /S2_BEHIND_PROXY=yes/)
})

test('a person who leaves is told what was made already, and nothing is written', async () => {
  const folder = mkdtempSync(join(root, 'etc'))
  const { code, err } = await run(
    [
      'init',
      '--role',
      'orchestrator',
      '--folder',
      folder,
      '--bridge-url',
      'bridge.example.org',
      '--certificate',
      'own',
    ],
    {
      env: { HOME: folder, PATH: process.env.PATH },
      screen: { isTerminal: true, columns: 80, rows: 24, coloured: false },
      ask: async () => null,
    },
  )
  assert.equal(code, 64)
  assert.match(err, /nothing was written: .*; made and kept: a certificate: .*tls\/bridge\.crt/)
  assert.throws(() => readFileSync(join(folder, 's2.env')))
})
