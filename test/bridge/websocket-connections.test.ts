import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws'
import { S2Error } from '#fleet/errors.ts'
import { FrameSeal } from '#fleet/frame-seal.ts'
import { checkJoinedProof, frameKey, joinedProof, joinProof } from '#fleet/signature.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openRemoteStore } from '#store/remote/remote.ts'
import { singly } from '../singly.ts'
import { until } from '../until.ts'
import { Ground, type Seat } from './ground.ts'

interface Frame {
  readonly t: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever came
  readonly [field: string]: any
}

/** A host that speaks frames by hand. */
class Host implements Disposable {
  readonly ws: WebSocket
  readonly frames: Frame[] = []
  challenge = ''
  readonly authority: string
  readonly nonce = randomBytes(18).toString('base64url')
  seal: FrameSeal | null = null
  closed: { code: number; reason: string } | null = null
  #token = ''

  private constructor(ws: WebSocket, authority: string) {
    this.ws = ws
    this.authority = authority
    ws.on('error', () => undefined)
    ws.on('message', (data: Buffer) => this.#hear(data))
    ws.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) }
    })
  }

  static async open(ground: Ground, options: ClientOptions = {}): Promise<Host> {
    const authority = `127.0.0.1:${ground.port}`
    const host = new Host(new WebSocket(`ws://${authority}/v1/socket`, options), authority)
    host.challenge = (await host.next('challenge')).challenge
    return host
  }

  async next(t: string, matches: (frame: Frame) => boolean = () => true): Promise<Frame> {
    const find = (): number => this.frames.findIndex((frame) => frame.t === t && matches(frame))
    await until(`a frame ${t}`, () => find() >= 0)
    return this.frames.splice(find(), 1)[0] as Frame
  }

  say(frame: unknown): void {
    const text = typeof frame === 'string' ? frame : JSON.stringify(frame)
    if (Buffer.isBuffer(frame) || this.seal === null) this.ws.send(Buffer.isBuffer(frame) ? frame : text)
    else this.ws.send(this.seal.seal(text))
  }

  get greeting() {
    return { authority: this.authority, challenge: this.challenge, nonce: this.nonce }
  }

  proof({ session, token }: Seat, after: number | null): string {
    return joinProof(token, this.greeting, { session, after })
  }

  /** Takes the answer to the first join for what changes to sealed frames. */
  async join(seat: Seat, after: number | null = 0): Promise<void> {
    const { session, token } = seat
    this.#token = token
    this.say({ t: 'join', session, after, nonce: this.nonce, proof: this.proof(seat, after) })
    const { proof } = await this.next('joined', (frame) => frame.session === session)
    assert.ok(checkJoinedProof(proof, token, this.greeting, { session, after }))
  }

  #hear(data: Buffer): void {
    const text = this.seal === null ? data : this.seal.open(data)
    assert.ok(text !== null, 'the bridge’s frame has no right seal')
    const frame = JSON.parse(String(text)) as Frame
    this.frames.push(frame)
    if (frame.t === 'joined') this.seal ??= new FrameSeal(frameKey(this.#token, this.greeting), 'host')
  }

  async end(): Promise<{ code: number; reason: string }> {
    await until('the socket is closed', () => this.closed !== null)
    return this.closed as { code: number; reason: string }
  }

  [Symbol.dispose](): void {
    this.ws.terminate()
  }
}

function beatOf({ session }: Seat, seq: number) {
  return { session, host: 'h', incarnation: 'i', seq, work: 0 }
}

test('mail comes from the cursor on, first what waits and then what is new', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const first = await ground.store.send(a.session, '1', { text: 'one' })
  await ground.store.send(a.session, '2', { text: 'two' })
  using host = await Host.open(ground)
  await host.join(b, first.id)
  assert.equal((await host.next('mail')).message.text, 'two')
  await ground.store.send(a.session, '3', { text: 'three' })
  const pushed = await host.next('mail')
  assert.equal(pushed.message.text, 'three')
  assert.equal(pushed.session, b.session)
  assert.equal(pushed.message.delivery, 'queued')
  host.say({ t: 'mark', n: 7, session: b.session, ids: [pushed.message.id], mark: 'acked' })
  assert.equal((await host.next('done')).n, 7)
  assert.deepEqual(
    (await ground.store.unacked(b.session, 0, 10)).map(({ text }) => text),
    ['one', 'two'],
  )
})

test('beats are taken from those who joined, and answered', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel()
  const two = await ground.channel('s2-worker-2')
  using host = await Host.open(ground)
  await host.join(one.b, null)
  host.say({ t: 'beat', n: 1, beats: [beatOf(one.b, 5), beatOf(two.b, 9)] })
  await host.next('done', ({ n }) => n === 1)
  const { pulses } = await ground.store.pulses(0)
  assert.deepEqual(
    pulses.map(({ session, seq }) => ({ session, seq })),
    [{ session: one.b.session, seq: 5 }],
  )
  host.say({ t: 'beat', n: 2, beats: [] })
  await host.next('done', ({ n }) => n === 2)
  host.say({ t: 'leave', session: one.b.session })
  host.say({ t: 'mark', n: 3, session: one.b.session, ids: [1], mark: 'acked' })
  await until('it has left', () => ground.metric('s2_bridge_sessions') === 0)
  host.say({ t: 'mark', n: 4, session: one.b.session, ids: [1], mark: 'acked' })
  assert.equal((await host.next('failed', ({ n }) => n === 4)).problem.code, 'unauthenticated')
})

test('a join that proves nothing is refused, whatever is wrong with it', async () => {
  await using ground = await Ground.open()
  const { opened, a, b } = await ground.channel()
  using host = await Host.open(ground)
  using other = await Host.open(ground)
  const attempts = [
    { session: b.session, after: 0, proof: 'nonsense' },
    { session: b.session, after: 0, proof: host.proof({ ...b, token: 'f'.repeat(64) }, 0) },
    { session: b.session, after: 0, proof: host.proof(a, 0) },
    { session: b.session, after: 1, proof: host.proof(b, 0) },
    { session: b.session, after: null, proof: host.proof(b, 0) },
    {
      session: 'conv_ffffffffffffffff/b',
      after: 0,
      proof: host.proof({ ...b, session: 'conv_ffffffffffffffff/b' }, 0),
    },
    { session: b.session, after: 0, proof: other.proof(b, 0) },
  ]
  const answers: Frame[] = []
  for (const attempt of attempts) {
    host.say({ t: 'join', nonce: host.nonce, ...attempt })
    answers.push(await host.next('refused'))
  }
  for (const { problem } of answers) {
    assert.equal(problem.code, 'unauthenticated')
    assert.equal(problem.detail, answers[0]?.problem.detail)
  }
  await host.join(b)
  await ground.store.endConversation(opened.id)
  assert.equal(JSON.stringify(ground.log.records).includes(b.token), false)
})

test('who has not joined is put out, and so is who says nothing any more', async (t) => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  using joined = await Host.open(ground)
  await joined.join(b)
  using idle = await Host.open(ground)
  t.mock.method(ground.clock, 'now', () => performance.now() + 5_500)
  assert.equal((await idle.end()).code, 1006, 'it is cut, and not asked')
  assert.equal(joined.closed, null)
  t.mock.method(ground.clock, 'now', () => performance.now() + 65_000)
  assert.equal((await joined.end()).code, 1006)
})

test('frames that are none close the socket and nothing else', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  using bystander = await Host.open(ground)
  await bystander.join(b)
  const bad: (string | Buffer)[] = [
    'x',
    '{}',
    '[]',
    'null',
    '{"t":"mail"}',
    '{"t":"__proto__"}',
    '{"t":["beat"]}',
    '{"t":"beat","n":1,"beats":[{}]}',
    '{"t":"beat","n":-1,"beats":[]}',
    '{"t":"beat","n":1,"beats":[],"more":1}',
    '{"t":"beat","n":1,"beats":[],"__proto__":{}}',
    '{"t":"join","session":"x","after":0,"proof":"x"}',
    `{"t":"leave","session":"${b.session}","x":"\\ud800"}`,
    '['.repeat(100_000),
    Buffer.from('{"t":"beat","n":1,"beats":[]}'),
  ]
  for (const frame of bad) {
    for (const isJoined of [false, true]) {
      using host = await Host.open(ground)
      if (isJoined) await host.join(b)
      host.say(frame)
      assert.equal((await host.end()).code, 1006, String(frame).slice(0, 60))
    }
  }
  using large = await Host.open(ground)
  await large.join(b)
  large.say(`"${'x'.repeat(ground.config.bodyMax)}"`)
  assert.equal((await large.end()).code, 1009)
  bystander.say({ t: 'beat', n: 1, beats: [] })
  await bystander.next('done')
})

test('whatever is said by whoever has joined, the bridge goes on', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  const field = fc.oneof(
    fc.constantFrom('join', 'leave', 'beat', 'mark', 'taken', b.session, 'acked', '__proto__', 'constructor'),
    fc.jsonValue({ maxDepth: 3 }),
  )
  const frame = fc.dictionary(
    fc.constantFrom('t', 'n', 'session', 'after', 'proof', 'beats', 'ids', 'id', 'mark', '__proto__', 'x'),
    field,
  )
  let host = await Host.open(ground)
  await host.join(b)
  let closed = 0
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { minLength: 1, maxLength: 5 }), async (frames) => {
      for (const each of frames) host.say(each)
      host.say({ t: 'beat', n: 999_999, beats: [] })
      await until('an answer or an end', () => host.closed !== null || host.frames.some(({ n }) => n === 999_999))
      host.frames.length = 0
      if (host.closed === null) return
      closed += 1
      host = await Host.open(ground)
      await host.join(b)
    }),
    { numRuns: 150 },
  )
  host[Symbol.dispose]()
  assert.ok(closed > 10)
  assert.equal(ground.log.records.filter(({ level }) => level === 'error').length, 0)
})

test('sockets are opened at one place, by names and pages that are allowed', async () => {
  await using ground = await Ground.open()
  const refusal = async (path: string, headers: Record<string, string>): Promise<number> => {
    const ws = new WebSocket(`ws://127.0.0.1:${ground.port}${path}`, { headers })
    ws.on('error', () => undefined)
    const [, response] = await once(ws, 'unexpected-response')
    ws.terminate()
    return response.statusCode
  }
  assert.equal(await refusal('/v1/other', {}), 404)
  assert.equal(await refusal('/v1/socket', { host: 'rebound.example.com' }), 403)
  assert.equal(await refusal('/v1/socket', { origin: 'https://evil.example.com' }), 403)
})

test('one who does not read hurts no other, and is put out', async (t) => {
  await using ground = await Ground.open()
  const slow = await ground.channel('slow')
  const quick = await ground.channel('quick')
  using sleeper = await Host.open(ground)
  await sleeper.join(slow.b)
  using reader = await Host.open(ground)
  await reader.join(quick.b)
  sleeper.ws.pause()
  const text = 'x'.repeat(50_000)
  for (let sent = 0; sent < 300; sent += 1) await ground.store.send(slow.a.session, String(sent), { text })
  await ground.store.send(quick.a.session, 'k', { text: 'quick' })
  assert.equal((await reader.next('mail')).message.text, 'quick')
  const pushed = ground.metric('s2_bridge_mail_total')
  assert.ok(pushed > 10 && pushed < 257, `${pushed} messages are under way to somebody who reads none`)
  t.mock.method(ground.clock, 'now', () => performance.now() + 15_000)
  await until('it is put out', () => ground.metric('s2_bridge_hosts') === 1)
  assert.equal(reader.closed, null)

  using again = await Host.open(ground)
  await again.join(slow.b)
  assert.equal((await again.next('mail')).message.text.length, text.length)
})

test('no more mail is under way than there is room for, until the reader says that it took some', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  for (let sent = 0; sent < 400; sent += 1) await ground.store.send(a.session, String(sent), { text: String(sent) })
  using host = await Host.open(ground)
  await host.join(b)
  await until('the window is full', () => host.frames.length === 256)
  host.say({ t: 'beat', n: 1, beats: [] })
  await host.next('done')
  assert.equal(host.frames.length, 256)
  host.say({ t: 'taken', session: b.session, id: host.frames[99]?.message.id })
  await until('there is room for more', () => host.frames.length === 356)
  host.say({ t: 'taken', session: b.session, id: host.frames[355]?.message.id })
  await until('all has come', () => host.frames.length === 400)
  assert.deepEqual(
    host.frames.map(({ message }) => message.text),
    Array.from({ length: 400 }, (_, sent) => String(sent)),
  )
})

test('joining again takes the place of joining before', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  using host = await Host.open(ground)
  await host.join(b)
  await host.join(b)
  await ground.store.send(a.session, 'k', { text: 'once' })
  await host.next('mail')
  host.say({ t: 'beat', n: 1, beats: [beatOf(b, 1)] })
  await host.next('done')
  assert.deepEqual(host.frames, [])
  await host.join(b, null)
  await ground.store.send(a.session, 'l', { text: 'not wanted' })
  host.say({ t: 'beat', n: 2, beats: [beatOf(b, 2)] })
  await host.next('done')
  assert.deepEqual(host.frames, [])
})

test('mail that breaks off in the store goes on behind what was sent', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  for (let sent = 0; sent < 6; sent += 1) await ground.store.send(a.session, String(sent), { text: String(sent) })
  const { mail } = ground.store
  let breaks = 0
  ground.store.mail = async function* (reader, after, signal) {
    for await (const batch of mail.call(ground.store, reader, after, signal)) {
      yield batch.slice(0, 2)
      breaks += 1
      throw new S2Error('unavailable', 'the database is locked')
    }
  }
  using host = await Host.open(ground)
  await host.join(b)
  await until('all has come', () => host.frames.length >= 6)
  assert.deepEqual(
    host.frames.map(({ message }) => message.text),
    ['0', '1', '2', '3', '4', '5'],
  )
  assert.ok(breaks >= 3)
})

test('a session whose token has ended is put out, and nobody else', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel()
  const two = await ground.channel('s2-worker-2')
  using host = await Host.open(ground)
  await host.join(one.b)
  await host.join(two.b)
  assert.equal((await ground.askAdmin('endConversation', { id: one.opened.id })).status, 200)
  assert.equal((await host.next('refused')).session, one.b.session)
  const rotated = await ground.askAdmin('rotateToken', { session: two.b.session, overlapMs: 0 })
  assert.equal((await host.next('refused')).session, two.b.session)
  await host.join({ ...two.b, token: rotated.json })
  await ground.store.send(two.a.session, 'k', { text: 'still here' })
  assert.equal((await host.next('mail')).message.text, 'still here')
})

test('a flood of frames or marks ends the socket', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  using host = await Host.open(ground)
  await host.join(b)
  ground.store.mark = () => new Promise(() => undefined)
  for (let n = 0; n < 101; n += 1) host.say({ t: 'mark', n, session: b.session, ids: [], mark: 'acked' })
  assert.equal((await host.end()).code, 1006)
  assert.ok(ground.log.records.some(({ fields }) => fields.why === 'too many marks at once'))
  using guesser = await Host.open(ground)
  for (let n = 0; n < 130 && guesser.closed === null; n += 1) {
    guesser.say({ t: 'join', session: b.session, after: 0, nonce: guesser.nonce, proof: String(n) })
    await until('an answer', () => guesser.closed !== null || guesser.frames.splice(0).length > 0)
  }
  assert.equal((await guesser.end()).code, 1006)
})

test('when the bridge stops, hosts are told so', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  using host = await Host.open(ground)
  await host.join(b)
  await ground.restart()
  assert.equal((await host.end()).code, 1001)
})

test('a hint of credentials goes to the workers that it is for, many at once as one', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel()
  const other = await ground.channel('s2-worker-2')
  using worker = await Host.open(ground)
  using lead = await Host.open(ground)
  await worker.join(one.b, null)
  await worker.join(other.b, null)
  await lead.join(one.a, null)
  for (let times = 0; times < 100; times += 1) await ground.store.hintCredentials([one.opened.id])
  await worker.next('credential', ({ session }) => session === one.b.session)
  await ground.store.hintCredentials([other.opened.id])
  await worker.next('credential', ({ session }) => session === other.b.session)
  assert.ok(worker.frames.length <= 2, 'the rest of the hundred are one more')
  lead.say({ t: 'beat', n: 1, beats: [] })
  await lead.next('done')
  assert.deepEqual(lead.frames, [], 'the orchestrator’s end has none in git')
})

test('hosts hear of new credentials one after the other, the first of them at once', async () => {
  let apart = Promise.withResolvers<void>()
  const sleep = async (ms: number, signal?: AbortSignal): Promise<void> =>
    ms === 5 ? await apart.promise : await systemClock.sleep(ms, signal)
  await using ground = await Ground.open({}, { clock: { ...systemClock, sleep } })
  const channels = [await ground.channel(), await ground.channel('s2-worker-2'), await ground.channel('s2-worker-3')]
  const hosts: Host[] = []
  for (const { b } of channels) {
    const host = await Host.open(ground)
    await host.join(b, null)
    hosts.push(host)
  }
  await ground.store.hintCredentials(channels.map(({ opened }) => opened.id))
  for (const told of [1, 2, 3]) {
    await hosts[told - 1]?.next('credential')
    for (const host of hosts.slice(told)) {
      host.say({ t: 'beat', n: told, beats: [] })
      await host.next('done') // whatever was sent before has come before it
      assert.deepEqual(host.frames, [], 'it waits for its turn')
    }
    const { resolve } = apart
    apart = Promise.withResolvers()
    resolve()
  }
  for (const host of hosts) host.ws.terminate()
})

test('a frame that a host does not know yet costs it nothing', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const session = 'conv_0000000000000001/b'
  const said: Frame[] = []
  server.on('connection', (socket, { headers }) => {
    socket.send(JSON.stringify({ t: 'of-tomorrow', any: 1 }))
    socket.send(JSON.stringify({ t: 'challenge', challenge: 'c'.repeat(32) }))
    let seal: FrameSeal | null = null
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(String(seal === null ? data : seal.open(data))) as Frame
      said.push(frame)
      if (seal !== null) return
      socket.send(JSON.stringify({ t: 'of-tomorrow' }))
      const greeting = { authority: headers.host as string, challenge: 'c'.repeat(32), nonce: frame.nonce }
      const proof = joinedProof('f'.repeat(64), greeting, { session, after: frame.after })
      socket.send(JSON.stringify({ t: 'joined', session, after: frame.after, proof }))
      seal = new FrameSeal(frameKey('f'.repeat(64), greeting), 'bridge')
      socket.send(seal.seal(JSON.stringify({ t: 'of-tomorrow' })))
    })
  })
  const { port } = server.address() as AddressInfo
  const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
  const keyring = { token: () => 'f'.repeat(64), sessions: () => [session] as const }
  const store = openRemoteStore(`http://127.0.0.1:${port}`, keyring, parts, { callMs: 100 })
  const over = new AbortController()
  const reading = singly(store.mail(session, 0, over.signal))
    [Symbol.asyncIterator]()
    .next()
  await until('it has joined', () => said.length > 0)
  await until('it has heard all', () => store.link.means === 'socket')
  over.abort()
  await reading
  await store[Symbol.asyncDispose]()
  for (const client of server.clients) client.terminate()
  server.close()
  assert.deepEqual(
    said.map(({ t }) => t),
    ['join', 'leave'],
  )
})
