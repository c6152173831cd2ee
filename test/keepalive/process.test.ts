import assert from 'node:assert/strict'
import { cpSync, mkdirSync, symlinkSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { credentialsFolder, publishCredential } from '#spool/credentials.ts'
import { run } from '../cli/run-command.ts'
import type { Program } from '../program.ts'
import { until } from '../until.ts'
import { Host, Stage } from './processes.ts'

const KILLS = 20

let stage: Stage
let bridge: Program

before(async () => {
  stage = await Stage.open()
  bridge = await stage.bridge()
  // What was signed in the second a bridge began in, or the one after, it does not believe.
  await sleep(2_100)
})

after(async () => {
  await stage?.[Symbol.asyncDispose]()
})

/** Both ends write and read until they are told to stop; the agent acks what it has read. */
class Traffic {
  readonly #host: Host
  readonly #stop = new AbortController()
  readonly #ends: Promise<void>[]
  readonly #lead
  readonly sent: string[] = []
  readonly said: string[] = []
  readonly read: string[] = []

  constructor(host: Host, pauseMs = 8) {
    this.#host = host
    this.#lead = stage.as(host.a, host.opened.tokens.a)
    this.#ends = [this.#leadWrites(pauseMs), this.#agentWrites(pauseMs), this.#agentReads()]
  }

  async #leadWrites(pauseMs: number): Promise<void> {
    for (let n = 0; !this.#stop.signal.aborted; n += 1) {
      const text = `lead ${n}`
      for (;;) {
        const error = await this.#lead.send(this.#host.a, text, { text }).then(
          () => null,
          (thrown) => thrown,
        )
        if (error === null) break
        if (this.#stop.signal.aborted) throw error
        await sleep(50)
      }
      this.sent.push(text)
      await sleep(Math.random() * 2 * pauseMs)
    }
  }

  async #agentWrites(pauseMs: number): Promise<void> {
    for (let n = 0; !this.#stop.signal.aborted; n += 1) {
      const text = `agent ${n}`
      await this.#host.outbox.put({ kind: 'send', from: this.#host.b, draft: { text } })
      this.said.push(text)
      await sleep(Math.random() * 2 * pauseMs)
    }
  }

  async #agentReads(): Promise<void> {
    const { inbox } = this.#host
    while (!this.#stop.signal.aborted) {
      await this.#readSome(5)
      const current = await inbox.list('cur')
      await inbox.ack(current.slice(0, Math.floor(Math.random() * (current.length + 1))))
      await sleep(Math.random() * 20)
    }
  }

  async #readSome(limit: number): Promise<void> {
    for (const { text } of await this.#host.inbox.take(limit)) this.read.push(text)
  }

  /** Lets everything arrive, and answers what the lead has heard. */
  async settle(): Promise<string[]> {
    this.#stop.abort()
    await Promise.all(this.#ends)
    const { inbox, outbox, a, b } = this.#host
    const { admin } = stage
    await until('everything has arrived', async () => {
      await this.#readSome(1_000)
      await inbox.ack(await inbox.list('cur'))
      const isRead = (await admin.unacked(b, 0, 10_000)).length === 0
      return isRead && (await outbox.names()).length === 0 && (await inbox.list('done')).length === 0
    })
    return (await admin.unacked(a, 0, 10_000)).map(({ text }) => text)
  }
}

test(`killed ${KILLS} times amid traffic, it loses nothing and doubles nothing`, async (context) => {
  const host = await stage.host('s2-worker-1')
  await publishCredential(host.state, host.credential)
  const traffic = new Traffic(host)
  for (let kill = 0; kill < KILLS; kill += 1) {
    const keepalive = stage.keepalive(host)
    // Some die while they start, most at work.
    if (kill % 5 === 0) await sleep(Math.random() * 120)
    else await keepalive.says('session joined')
    await sleep(Math.random() * 60)
    await keepalive.end('SIGKILL')
  }
  const last = stage.keepalive(host)
  const heard = await traffic.settle()
  assert.ok(traffic.sent.length > 50 && traffic.said.length > 50, `${traffic.sent.length} and ${traffic.said.length}`)
  assert.deepEqual(heard, traffic.said, 'what the agent said, once, in order')
  assert.deepEqual(traffic.read, traffic.sent, 'what the lead said, once, in order')
  assert.deepEqual(last.eventsOf('spool file set aside'), [], 'nothing half was ever found')
  context.diagnostic(`${traffic.sent.length} messages to the host, ${traffic.said.length} from it`)
  await last.end()
})

test('a bridge that dies and is back after two seconds is found again, and nothing is lost', async (context) => {
  const host = await stage.host('s2-worker-2')
  await publishCredential(host.state, host.credential)
  const keepalive = stage.keepalive(host)
  await keepalive.says('link open')
  const traffic = new Traffic(host)
  await until('there is traffic', async () => traffic.read.length > 10)
  await bridge.end('SIGKILL')
  await sleep(2_000)
  await until('it is in trouble', async () => (await host.ask('/readyz')).status === 503)
  assert.match((await host.ask('/readyz')).text, /cannot be reached since/)
  bridge = await stage.bridge()
  const back = performance.now()
  await keepalive.says('link open', 2)
  context.diagnostic(`linked again ${Math.round(performance.now() - back)} ms after the bridge was`)
  const heard = await traffic.settle()
  assert.deepEqual(heard, traffic.said)
  assert.deepEqual(traffic.read, traffic.sent)
  await until('it is well', async () => (await host.ask('/readyz')).status === 200)
  assert.match((await host.ask('/metrics')).text, /^s2_keepalive_reconnects_total 1$/m)
  assert.equal(keepalive.eventsOf('trouble').length, 1, keepalive.said)
  await keepalive.end()
})

test('a token that changes amid traffic is taken over by the same process', async () => {
  const host = await stage.host('s2-worker-3')
  const { admin } = stage
  await publishCredential(host.state, host.credential)
  const keepalive = stage.keepalive(host)
  await keepalive.says('link open')
  const traffic = new Traffic(host)
  for (let rotation = 1; rotation <= 3; rotation += 1) {
    const token = await admin.rotateToken(host.b, 3_000)
    const createdAt = host.credential.createdAt + rotation
    await publishCredential(host.state, { ...host.credential, token, createdAt })
    await keepalive.says('credential taken over', rotation)
  }
  // From now on only the newest counts.
  const token = await admin.rotateToken(host.b, 0)
  await publishCredential(host.state, { ...host.credential, token, createdAt: host.credential.createdAt + 9 })
  await keepalive.says('credential taken over', 4)
  const heard = await traffic.settle()
  assert.deepEqual(heard, traffic.said)
  assert.deepEqual(traffic.read, traffic.sent)
  assert.ok(!keepalive.said.includes(token) && !keepalive.said.includes(host.credential.token))
  await keepalive.end()
})

test('rubbish in every folder stops nothing, and is told', async () => {
  const host = await stage.host('s2-worker-4')
  await publishCredential(host.state, host.credential)
  const keepalive = stage.keepalive(host)
  await keepalive.says('link open')
  const traffic = new Traffic(host)
  const inbox = join(host.state, 'inbox')
  const outbox = join(host.state, 'outbox/new')
  const credentials = credentialsFolder(host.state)
  writeFileSync(join(inbox, 'cur/900000.json'), '{"id": 900000, "to": "cut')
  mkdirSync(join(inbox, 'done/900001.json'))
  symlinkSync('/etc/passwd', join(inbox, 'cur/900002.json'))
  writeFileSync(join(inbox, 'done/900003.json'), '[]')
  writeFileSync(join(outbox, '0000000000000000-0123456789abcdef.json'), '{"kind": "send", "from": "me"}')
  writeFileSync(join(outbox, '0000000000000000-0123456789abcde0.json'), 'x'.repeat(3_000_000))
  mkdirSync(join(outbox, '0000000000000000-0123456789abcde1.json'))
  symlinkSync(join(credentials, 'nowhere'), join(credentials, 'conv_00000000000000aa-b.json'))
  writeFileSync(join(credentials, 'conv_00000000000000ab-b.json'), '{}', { mode: 0o600 })
  await keepalive.says('spool file set aside', 7)
  await keepalive.says('trouble')
  const heard = await traffic.settle()
  assert.deepEqual(heard, traffic.said)
  assert.deepEqual(traffic.read, traffic.sent)
  assert.ok(!keepalive.said.includes('root:'))
  assert.match((await host.ask('/readyz')).text, /conv_00000000000000aa-b\.json is a symbolic link/)
  await keepalive.end()
})

test('it waits for credentials and says so; when stopped it carries what is in hand', async () => {
  const host = await stage.host('s2-worker-5')
  const keepalive = stage.keepalive(host)
  await keepalive.says('trouble')
  const without = await host.ask('/readyz')
  assert.equal(without.status, 503)
  assert.match(without.text, /there are no credentials yet/)
  for (let n = 1; n <= 7; n += 1) {
    const { opened } = n === 1 ? host : await stage.host(`s2-worker-5${n}`)
    await publishCredential(host.state, new Host(host.state, opened, stage.url, `s2-worker-5${n}`).credential)
    await keepalive.says('session joined', n)
  }
  await keepalive.says('link open')
  await until('it is ready', async () => (await host.ask('/readyz')).status === 200)
  for (let n = 0; n < 30; n += 1) await host.outbox.put({ kind: 'send', from: host.b, draft: { text: `${n}` } })
  assert.deepEqual(await keepalive.end('SIGTERM'), { code: 0, signal: null })
  assert.deepEqual(await host.outbox.names(), [])
  assert.equal((await stage.admin.unacked(host.a, 0, 100)).length, 30)
  assert.equal(keepalive.eventsOf('stopped with nothing unsent').length, 1)
})

test('a message is a file soon after it was sent', async (context) => {
  const host = await stage.host('s2-worker-6')
  await publishCredential(host.state, host.credential)
  const keepalive = stage.keepalive(host)
  await keepalive.says('link open')
  const lead = stage.as(host.a, host.opened.tokens.a)
  let arrived = Promise.withResolvers<void>()
  const watcher = watch(host.inbox.folder('new'), (_, name) => name?.endsWith('.json') === true && arrived.resolve())
  const tookMs: number[] = []
  for (let n = -10; n < 150; n += 1) {
    arrived = Promise.withResolvers()
    const began = performance.now()
    await lead.send(host.a, `key ${n}`, { text: 'x'.repeat(200) })
    await arrived.promise
    if (n >= 0) tookMs.push(performance.now() - began)
    await sleep(Math.random() * 5)
  }
  watcher.close()
  tookMs.sort((x, y) => x - y)
  const [p50 = Number.NaN, p99 = Number.NaN] = [0.5, 0.99].map((part) => tookMs[Math.floor(tookMs.length * part)])
  context.diagnostic(`send → file in inbox: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`)
  assert.ok(p50 < 1_000, `polls alone take two seconds; p50 ${p50} ms`)
  await keepalive.end()
})

test('a copy of a running host, work and all, is told by whom its session is spoken for, and takes neither mail nor tasks', async () => {
  const host = await stage.host('s2-worker-7')
  await publishCredential(host.state, host.credential)
  await stage.keepalive(host, { S2_HOST: 'box-1' }).says('link open')
  const copy = new Host(join(stage.folder, 'copy-7'), host.opened, stage.url, 's2-worker-7')
  cpSync(host.state, copy.state, { recursive: true, filter: (path) => !path.endsWith('/run') })
  stage.keepalive(copy, { S2_HOST: 'box-2' })
  const readiness = async (of: Host): Promise<string> => (await of.ask('/readyz').catch(() => ({ text: '' }))).text
  const spokenFor = new RegExp(`${host.b} is spoken for by box-1, .*s2 worker invite`)
  await until('the copy says who speaks', async () => spokenFor.test(await readiness(copy)))

  await stage.admin.addTask({
    id: 'for-7',
    description: 'work',
    priority: 'P2',
    role: null,
    holder: host.b,
    deadline: null,
    createdBy: null,
  })
  const refused = await work(copy, /no work is taken for .* is spoken for by box-1, .*s2 worker invite/)
  assert.doesNotMatch(refused, /started/)
  assert.match(await work(host, /for-7 is completed/), /for-7 \(P2, epoch 1\) started/)

  const contests = async () => (await stage.admin.pulses(0)).contests ?? []
  const isTold = async () =>
    (await contests()).some(
      ({ session, heard, refused }) => `${session} ${heard} ${refused}` === `${host.b} box-1 box-2`,
    )
  await until('observers are told of both', isTold)
  const { id } = await stage.admin.send(host.a, 'for-7', { text: 'to one of the two' })
  await until('the host has its mail', async () => (await host.inbox.list('new')).includes(id))
  assert.deepEqual([await copy.inbox.list('new'), await copy.inbox.list('cur')], [[], []])
  assert.doesNotMatch(await readiness(host), /spoken for/)
})

/** Runs `s2 work` on a host until it has said this; answers all that it said. */
async function work({ state }: Host, awaited: RegExp): Promise<string> {
  let said = ''
  let end = (): void => undefined
  const ended = run(['work', '--exec', 'true'], {
    env: { S2_STATE: state, PATH: process.env.PATH },
    folder: state,
    onSignal: (_, heard) => {
      end = () => heard('SIGTERM')
      return { [Symbol.dispose]: () => undefined }
    },
    tell: (text) => {
      said += text
    },
  })
  await until(`s2 work says ${awaited}`, () => awaited.test(said)).finally(() => end())
  assert.equal((await ended).code, 0, said)
  return said
}
