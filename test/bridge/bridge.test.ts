import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { SessionId } from '#fleet/session-id.ts'
import { recordingLog } from '#runtime/log.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { readConfig } from '../../services/bridge/config.ts'
import { ConversationRenewal } from '../../services/bridge/conversation-renewal.ts'
import { DEEDS, leftBeside } from '../core/store/sqlite-deeds.ts'
import { MovableClock } from '../movable-clock.ts'
import { mainOf, Program } from '../program.ts'
import { singly } from '../singly.ts'
import { until } from '../until.ts'
import { makeCertificate } from './certificate.ts'
import { Ground } from './ground.ts'

const folder = await mkdtemp(join(tmpdir(), 's2-bridge-'))
after(() => rm(folder, { recursive: true, force: true }))

const { cert, key } = makeCertificate(new Date())
const CERT = join(folder, 'bridge.crt')
const KEY = join(folder, 'bridge.key')
await writeFile(CERT, cert)
await writeFile(KEY, key)

/** The program as it is started for real. */
function start(name: string, env: Readonly<Record<string, string>> = {}): Program {
  return new Program(mainOf('bridge'), { S2_STATE: join(folder, name), S2_LISTEN: '127.0.0.1:0', ...env })
}

test('the program starts, answers on both doors, and stops when it is told to', async () => {
  await using bridge = start('whole')
  await bridge.says('ready')
  const socket = join(folder, 'whole', 'run', 'admin.sock')
  assert.equal(statSync(socket).mode & 0o777, 0o660)
  assert.ok(existsSync(join(folder, 'whole', 'bridge.db')))
  const [, url] = /"url":"(http:\/\/127\.0\.0\.1:\d+)"/.exec(bridge.said) ?? []
  assert.equal((await fetch(`${url}/v1/send`, { method: 'POST', body: '{}' })).status, 401)

  await using second = start('whole')
  assert.equal((await second.ended).code, 78)
  assert.match(second.said, /in use: the program already runs/)

  assert.equal((await bridge.end()).code, 0)
  assert.equal(bridge.eventsOf('stopped').length, 1)
  assert.ok(!existsSync(socket))
})

test('what keeps it from starting is said, with the exit code of a wrong configuration', async (context) => {
  const holder = createServer().listen(0, '127.0.0.1')
  context.after(() => holder.close())
  await once(holder, 'listening')
  const { port } = holder.address() as { port: number }
  const garbage = join(folder, 'garbage.pem')
  await writeFile(garbage, 'no certificate')
  const other = join(folder, 'other.key')
  await writeFile(other, makeCertificate(new Date()).key)
  const cases: [Record<string, string>, RegExp][] = [
    [{ S2_LISTEN: `127.0.0.1:${port}` }, /cannot listen on 127\.0\.0\.1:\d+: another program listens there/],
    [
      { S2_TLS_CERT: CERT, S2_TLS_KEY: join(folder, 'missing.key') },
      /S2_TLS_KEY=\S*missing\.key cannot be read \(ENOENT\)/,
    ],
    [{ S2_TLS_CERT: garbage, S2_TLS_KEY: KEY }, /S2_TLS_CERT=\S*garbage\.pem is not a PEM file/],
    [{ S2_TLS_CERT: CERT, S2_TLS_KEY: other }, /cannot be used together/],
  ]
  const bridges = cases.map(([env], index) => start(`wrong-${index}`, env))
  for (const [index, bridge] of bridges.entries()) {
    await using _ended = bridge
    assert.equal((await bridge.ended).code, 78, bridge.said)
    assert.match(bridge.said, cases[index]?.[1] as RegExp)
  }
})

test('beyond this machine it wants TLS, or a proxy said to be there', () => {
  const state = { S2_STATE: folder }
  const fails = (env: Record<string, string>, pattern: RegExp): void => {
    assert.throws(
      () => readConfig({ ...state, ...env }),
      (error) => error instanceof ConfigError && pattern.test(error.message),
    )
  }
  for (const listen of [
    '0.0.0.0:7433',
    '[::]:7433',
    '192.168.1.5:7433',
    'bridge.example.org:7433',
    '127.0.0.1.example.org:7433',
  ]) {
    fails({ S2_LISTEN: listen }, /S2_TLS_CERT and S2_TLS_KEY, or S2_BEHIND_PROXY=yes/)
    readConfig({ ...state, S2_LISTEN: listen, S2_BEHIND_PROXY: 'yes' })
    readConfig({ ...state, S2_LISTEN: listen, S2_TLS_CERT: CERT, S2_TLS_KEY: KEY })
  }
  for (const listen of ['127.0.0.1:7433', '127.3.2.1:7433', '[::1]:7433', 'localhost:7433', 'unix:/run/s2.sock']) {
    readConfig({ ...state, S2_LISTEN: listen })
  }
  fails({ S2_TLS_CERT: CERT }, /S2_TLS_KEY is missing/)
  fails({ S2_TLS_KEY: KEY }, /S2_TLS_CERT is missing/)
  fails({ S2_HOUSEKEEPING: '99 * * * *' }, /S2_HOUSEKEEPING="99 \* \* \* \*"/)
  fails({ S2_LISTEN: '0.0.0.0:7433', S2_TLS_KEY: KEY }, /S2_LISTEN lies[\s\S]*|S2_TLS_CERT is missing/)
  assert.equal(readConfig(state).store, `sqlite:${join(folder, 'bridge.db')}`)
})

test('over TLS it is the same bridge, for those who trust its certificate', async () => {
  await using ground = await Ground.open({ S2_TLS_CERT: CERT, S2_TLS_KEY: KEY })
  const { a, b } = await ground.channel()
  assert.match(ground.bridge.url, /^https:/)
  const store = ground.as([a, b], {}, cert)
  await store.send(a.session, 'k', { text: 'x' })
  const stop = new AbortController()
  const mail = singly(store.mail(b.session, 0, stop.signal))[Symbol.asyncIterator]()
  assert.equal((await mail.next()).value.text, 'x')
  await until('the socket is open', () => store.link.means === 'socket')
  stop.abort()
  await assert.rejects(ground.as([a]).send(a.session, 'l', { text: 'x' }), (error) => {
    assert.match(String((error as { next: string }).next), /NODE_EXTRA_CA_CERTS/)
    assert.equal((error as { code: string }).code, 'unavailable')
    return true
  })
  const plain = connect({ host: '127.0.0.1', port: ground.port })
  plain.on('error', () => undefined).write('GET / HTTP/1.1\r\n\r\n')
  await new Promise<void>((resolve) => plain.resume().once('close', () => resolve()))
})

test('what is under way when it stops is finished, and nothing new is taken', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const { send } = ground.store
  const committing = Promise.withResolvers<void>()
  const commit = Promise.withResolvers<void>()
  ground.store.send = async (...args) => {
    committing.resolve()
    await commit.promise
    return await send.apply(ground.store, args)
  }
  const answer = ground.send(a)
  await committing.promise
  const stopped = ground.stop()
  await assert.rejects(ground.send(a), { code: /^ECONN(REFUSED|RESET)$/ })
  commit.resolve()
  const { status, headers } = await answer
  assert.equal(status, 200)
  assert.equal(headers.connection, 'close')
  await stopped
  await ground.start()
})

test('conversations of workers that beat are renewed before they end, and no others', async () => {
  const clock = new MovableClock()
  const log = recordingLog()
  await using store = openMemoryStore({ clock })
  const open = (worker: string) =>
    store.openConversation({ roles: { a: 'o', b: 'w' }, agents: { a: 'o', b: worker }, lifetimeMs: 60_000 })
  const [lively, quiet, ended] = [await open('lively'), await open('quiet'), await open('ended')]
  const renewals = new ConversationRenewal(60_000, { store, clock, log })
  const beat = (session: SessionId) => ({ session, host: 'box', incarnation: 'one', seq: 1, work: 0 })
  const early = await open('heard before the bridge began')
  await store.beat([beat(`${early.id}/b`)])
  const ends = async () => new Map((await store.conversations()).map(({ id, expiresAt }) => [id, expiresAt]))
  assert.equal(await renewals.round(), 7_500)
  await store.beat([beat(`${lively.id}/b`), beat(`${ended.id}/b`), beat(`${quiet.id}/a`)])
  await renewals.round()
  assert.equal((await ends()).get(lively.id), lively.expiresAt, 'there is time yet')
  await store.endConversation(ended.id)
  clock.offsetMs = 31_000
  await renewals.round()
  const now = await ends()
  assert.ok((now.get(lively.id) ?? 0) >= lively.expiresAt + 30_000)
  assert.equal(now.get(quiet.id), quiet.expiresAt)
  assert.equal(now.get(early.id), early.expiresAt)
  assert.equal(now.has(ended.id), false)
})

test('an idle bridge ends within a second when others remove, replace or write over its database, or take its log', async (context) => {
  for (const [name, deed] of Object.entries(DEEDS)) {
    const state = name.replaceAll(' ', '-')
    const path = join(folder, state, 'bridge.db')
    await using bridge = start(state)
    await bridge.says('ready')
    const began = performance.now()
    deed(path)
    await bridge.says('database files changed by others')
    const noticedMs = Math.round(performance.now() - began)
    assert.deepEqual(await bridge.ended, { code: 1, signal: null }, name)
    context.diagnostic(
      `${name}: noticed after ${noticedMs} ms, ended after ${Math.round(performance.now() - began)} ms`,
    )
    assert.match(JSON.stringify(bridge.eventsOf('store broken')), /while S2 had it open; .*"next":"/, name)
    const isRobbed = name === 'robbed of its log'
    assert.deepEqual(leftBeside(path), isRobbed ? { log: true, copies: 0 } : { log: false, copies: 1 }, name)
  }
})
