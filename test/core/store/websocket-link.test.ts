/** The host's end of the socket, against a bridge that answers by hand: when it wants, and in the order it wants. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import { FrameSeal } from '#fleet/frame-seal.ts'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { frameKey, joinedProof, type SocketGreeting } from '#fleet/signature.ts'
import { type Clock, systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { MAIL_WINDOW } from '#store/remote/frames.ts'
import { openRemoteStore, type RemoteStore } from '#store/remote/remote.ts'
import { ManualClock } from '../../manual-clock.ts'
import { singly } from '../../singly.ts'
import { until } from '../../until.ts'

const A: SessionId = 'conv_0123456789abcdef/a'
const B: SessionId = 'conv_0123456789abcdef/b'
/** Nothing but the socket brings anything. */
const NEVER = { first: 3_600_000, most: 3_600_000 }

interface Said {
  readonly t: string
  readonly after?: number | null
  readonly id?: number
  readonly n?: number
  readonly proof?: string
  readonly nonce?: string
  readonly beats?: readonly Partial<Beat>[]
}

/** A bridge that says a challenge, and from then on what the test lets it say. */
class Bridge implements AsyncDisposable {
  readonly #server: WebSocketServer
  readonly #heard: Said[] = []
  #news = Promise.withResolvers<void>()
  #ws: WebSocket | null = null
  #seal: FrameSeal | null = null
  #greeting: SocketGreeting = { authority: '', challenge: 'c'.repeat(32), nonce: '' }
  readonly store: RemoteStore
  /** The host's token. */
  token = 'f'.repeat(64)
  /** How many sockets were opened. */
  opened = 0

  private constructor(server: WebSocketServer, port: number, clock: Clock, takes: readonly string[] | undefined) {
    this.#server = server
    server.on('connection', (ws, { headers }) => {
      this.#ws = ws
      this.#seal = null
      this.opened += 1
      ws.on('message', (data: Buffer) => {
        const said = JSON.parse(String(this.#seal === null ? data : this.#seal.open(data))) as Said
        if (said.t === 'join')
          this.#greeting = { ...this.#greeting, authority: headers.host ?? '', nonce: said.nonce ?? '' }
        this.#heard.push(said)
        this.#news.resolve()
      })
      this.say({ t: 'challenge', challenge: 'c'.repeat(32), takes })
    })
    const parts = { clock, chance: systemChance, log: recordingLog() }
    const ring = { token: () => this.token, sessions: () => [B] }
    this.store = openRemoteStore(`http://127.0.0.1:${port}`, ring, parts, { pollMs: NEVER })
  }

  /** `takes`: what it says that it understands; an older bridge says nothing of it. */
  static async open(clock: Clock = systemClock, takes?: readonly string[]): Promise<Bridge> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    await once(server, 'listening')
    return new Bridge(server, (server.address() as { port: number }).port, clock, takes)
  }

  say(frame: object): void {
    const text = JSON.stringify(frame)
    this.#ws?.send(this.#seal === null ? text : this.#seal.seal(text))
  }

  joined(after: number | null, token = this.token): void {
    this.say({ t: 'joined', session: B, after, proof: joinedProof(token, this.#greeting, { session: B, after }) })
    this.#seal ??= new FrameSeal(frameKey(token, this.#greeting), 'bridge')
  }

  refuses(code: string): void {
    this.say({ t: 'refused', session: B, problem: { code, detail: 'it was refused' } })
  }

  /** Says something as whoever stands between could: without a seal. */
  slip(text: string): void {
    this.#ws?.send(text)
  }

  /** Sends the messages of these ids. */
  mail(first: number, last: number): void {
    for (let id = first; id <= last; id += 1) {
      const message = { id, from: A, to: B, text: String(id), action: null, files: [], sentAt: 0, delivery: 'queued' }
      this.say({ t: 'mail', session: B, message })
    }
  }

  /** The next frame of this kind that fits; what came before it is forgotten. */
  async hears(t: string, fits: (frame: Said) => boolean = () => true): Promise<Said> {
    for (;;) {
      const at = this.#heard.findIndex((frame) => frame.t === t && fits(frame))
      if (at >= 0) return this.#heard.splice(0, at + 1).at(-1) as Said
      await this.#news.promise
      this.#news = Promise.withResolvers()
    }
  }

  /** How many frames of this kind were heard and not looked at. */
  waiting(t: string): number {
    return this.#heard.filter((frame) => frame.t === t).length
  }

  get isCut(): boolean {
    return this.#ws?.readyState !== 1
  }

  /** The frames of these messages, kept back. */
  sealedMail(first: number, last: number): string[] {
    const texts: string[] = []
    for (let id = first; id <= last; id += 1) {
      const message = { id, from: A, to: B, text: String(id), action: null, files: [], sentAt: 0, delivery: 'queued' }
      texts.push(this.#seal?.seal(JSON.stringify({ t: 'mail', session: B, message })) ?? '')
    }
    return texts
  }

  /** Ends the socket; another one is opened by the host. */
  cut(): void {
    this.#ws?.terminate()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]()
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** Takes mail by the piece. */
class Reader implements AsyncDisposable {
  readonly #stop = new AbortController()
  readonly #mail: AsyncIterator<StoredMessage>

  constructor({ store }: Bridge, after: number) {
    this.#mail = singly(store.mail(B, after, this.#stop.signal))[Symbol.asyncIterator]()
  }

  /** The ids of the next so many. */
  async take(count: number): Promise<number[]> {
    const ids: number[] = []
    for (let n = 0; n < count; n += 1) ids.push((await this.#mail.next()).value.id)
    return ids
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#mail.return?.()
  }
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, n) => first + n)
}

test('the answer to an earlier join is not taken for that to the present one', async () => {
  await using bridge = await Bridge.open()
  await using later = new Reader(bridge, 50)
  const lateOnes = later.take(3)
  await bridge.hears('join', ({ after }) => after === 50)
  bridge.joined(50)
  await using earlier = new Reader(bridge, 0)
  const all = earlier.take(53)
  await bridge.hears('join', ({ after }) => after === 0)
  // The first join is served while the second is under way: what it brings would hide all that the second reader lacks.
  bridge.joined(50)
  bridge.mail(51, 52)
  bridge.joined(0)
  bridge.mail(1, 53)
  assert.deepEqual(await all, range(1, 53))
  assert.deepEqual(await lateOnes, [51, 52, 53])
})

test('whoever does not know the token brings no mail: a command in it would run here', async () => {
  const clock = new ManualClock()
  await using bridge = await Bridge.open(clock)
  await using reader = new Reader(bridge, 0)
  const first = reader.take(1)
  await bridge.hears('join')
  bridge.joined(0, 'e'.repeat(64))
  bridge.mail(66, 66)
  await until('the socket is left', () => bridge.isCut)
  assert.equal(bridge.store.link.means, 'away')
  while (bridge.opened < 2) await clock.advance(1_000)
  await bridge.hears('join')
  bridge.mail(67, 67)
  await until('the socket is left', () => bridge.isCut)
  while (bridge.opened < 3) await clock.advance(1_000)
  await bridge.hears('join')
  bridge.joined(0)
  bridge.mail(1, 1)
  assert.deepEqual(await first, [1])
})

test('frames that are changed, repeated, left out or slipped in end the socket', async () => {
  const clock = new ManualClock()
  await using bridge = await Bridge.open(clock)
  await using reader = new Reader(bridge, 0)
  const mail = reader.take(1)
  const between: ((texts: string[]) => void)[] = [
    ([one = '']) => bridge.slip(one.replace('"text":"9"', '"text":"8"')),
    ([one = '']) => bridge.slip(one.slice(22)),
    ([, two = '']) => bridge.slip(two),
    ([one = '']) => {
      bridge.slip(one)
      bridge.slip(one)
    },
  ]
  for (const tamper of between) {
    await bridge.hears('join')
    bridge.joined(0)
    const { opened } = bridge
    tamper(bridge.sealedMail(9, 10))
    await until('the socket is left', () => bridge.isCut)
    while (bridge.opened === opened) await clock.advance(1_000)
  }
  assert.deepEqual(await mail, [9], 'only what came as it was said counts')
})

test('messages that come a second time are said to be taken too: the window opens again', async () => {
  await using bridge = await Bridge.open()
  await using reader = new Reader(bridge, 0)
  const [first] = await Promise.all([
    reader.take(1),
    bridge.hears('join').then(() => {
      bridge.joined(0)
      bridge.mail(1, 1)
    }),
  ])
  assert.deepEqual(first, [1])
  bridge.mail(2, 1 + MAIL_WINDOW)
  bridge.cut()
  await bridge.hears('join', ({ after }) => after === 1)
  // All that waits here is taken before the bridge answers; then it sends just that again, which fills its window.
  assert.deepEqual(await reader.take(MAIL_WINDOW), range(2, 1 + MAIL_WINDOW))
  bridge.joined(1)
  bridge.mail(2, 1 + MAIL_WINDOW)
  await bridge.hears('taken', ({ id }) => id === 1 + MAIL_WINDOW)
})

test('who stood still itself does not take the bridge for silent: its answer may lie there unread', async () => {
  const clock = new ManualClock()
  await using bridge = await Bridge.open(clock)
  await using reader = new Reader(bridge, 0)
  const first = reader.take(1)
  await bridge.hears('join')
  bridge.joined(0)
  bridge.mail(1, 1)
  assert.deepEqual(await first, [1])
  const marked = bridge.store.mark(B, [1], 'delivered')
  const { n } = await bridge.hears('mark')
  clock.pause(20_000)
  await clock.advance(0)
  bridge.say({ t: 'done', n })
  await marked
  assert.equal(bridge.opened, 1)
  // A bridge that really is silent is left all the same.
  const second = bridge.store.mark(B, [1], 'leased').catch(() => undefined)
  await bridge.hears('mark')
  let passedMs = 0
  for (; bridge.store.link.means === 'socket'; passedMs += 100) await clock.advance(100)
  assert.ok(passedMs <= 2 * 5_000, `noticed after ${passedMs} ms: two beats are enough`)
  let isOver = false
  void second.then(() => {
    isOver = true
  })
  while (!isOver) await clock.advance(1_000) // by plain requests, which nobody answers here
})

test('a bridge is told what a client does where it says that it understands that, and an older one is not', async () => {
  const activity = { state: 'waiting', what: 'permission prompt', until: null } as const
  const heardOf = async (takes?: readonly string[]) => {
    await using bridge = await Bridge.open(new ManualClock(), takes)
    const beat = async (seq: number): Promise<void> => {
      const said = { session: B, host: 'h', incarnation: 'one', seq, work: 0, activity }
      await bridge.store.beat([said]).catch(() => undefined)
    }
    await using reader = new Reader(bridge, 0)
    const first = reader.take(1)
    await bridge.hears('join')
    bridge.joined(0)
    bridge.mail(1, 1)
    await first
    void beat(1)
    await bridge.hears('join')
    bridge.joined(1)
    bridge.mail(2, 2)
    await reader.take(1)
    void beat(2)
    const { beats = [] } = await bridge.hears('beat', (frame) => frame.beats?.length === 1)
    return beats[0]?.activity
  }
  assert.deepEqual(await heardOf(['activity', 'something newer']), activity)
  assert.equal(await heardOf(), undefined)
})

test('a session moves to its new token with the next beat: the bridge may let the old one go soon', async () => {
  const clock = new ManualClock() // whose time stands: nothing is looked at now and then
  await using bridge = await Bridge.open(clock)
  const beat = async (seq: number): Promise<void> => {
    await bridge.store.beat([{ session: B, host: 'h', incarnation: 'one', seq, work: 0 }]).catch(() => undefined)
  }
  await using reader = new Reader(bridge, 0)
  const first = reader.take(1)
  const before = await bridge.hears('join')
  bridge.joined(0)
  bridge.mail(1, 1)
  assert.deepEqual(await first, [1])
  void beat(1)
  await bridge.hears('join') // it beats too now, and not only listens
  bridge.joined(1)
  bridge.mail(2, 2)
  assert.deepEqual(await reader.take(1), [2])
  void beat(2)
  await bridge.hears('beat')
  bridge.token = 'e'.repeat(64)
  void beat(3)
  const after = await bridge.hears('join')
  assert.notEqual(after.proof, before.proof)
})

test('a session that the bridge refuses is told of at once, once for each join, and not where it passes', async () => {
  const clock = new ManualClock()
  await using bridge = await Bridge.open(clock)
  const stop = new AbortController()
  const told: SessionId[] = []
  const telling = (async () => {
    for await (const sessions of bridge.store.refusedSessions(stop.signal)) told.push(...sessions)
  })()
  await using reader = new Reader(bridge, 0)
  const mail = reader.take(1)
  const joinsAgain = async (): Promise<void> => {
    let hasJoined = false
    const joining = bridge.hears('join').then(() => {
      hasJoined = true
    })
    while (!hasJoined) await clock.advance(1_000)
    await joining
  }
  await bridge.hears('join')
  bridge.refuses('rate_limited')
  await joinsAgain()
  assert.deepEqual(told, [], 'the next join may be let in')
  bridge.refuses('unauthenticated')
  await until('it is told', () => told.length > 0)
  bridge.refuses('unauthenticated')
  await joinsAgain()
  assert.deepEqual(told, [B], 'nobody can have it told twice of one join')
  bridge.joined(0)
  bridge.mail(1, 1)
  assert.deepEqual(await mail, [1])
  bridge.refuses('unauthenticated')
  await until('it is told that the join has ended', () => told.length > 1)
  assert.deepEqual(told, [B, B])
  stop.abort()
  await telling
})

test('however many marks are made at once, no more are under way than the bridge allows, and each is answered', async () => {
  await using bridge = await Bridge.open()
  await using reader = new Reader(bridge, 0)
  const mail = reader.take(1)
  await bridge.hears('join')
  bridge.joined(0)
  bridge.mail(1, 1)
  assert.deepEqual(await mail, [1])
  const marked = Promise.all(range(1, 200).map((id) => bridge.store.mark(B, [id], 'delivered')))
  let most = 0
  for (let answered = 0; answered < 200; answered += 1) {
    const { n } = await bridge.hears('mark')
    most = Math.max(most, bridge.waiting('mark') + 1)
    bridge.say({ t: 'done', n })
  }
  await marked
  assert.ok(most < 100, `${most} at once`)
})

test('marks that wait for room when the socket is lost are answered, each', async () => {
  await using bridge = await Bridge.open()
  await using reader = new Reader(bridge, 0)
  const mail = reader.take(1)
  await bridge.hears('join')
  bridge.joined(0)
  bridge.mail(1, 1)
  assert.deepEqual(await mail, [1])
  const marked = range(1, 200).map((id) => bridge.store.mark(B, [id], 'delivered').catch((error: unknown) => error))
  await bridge.hears('mark')
  bridge.cut()
  const outcomes = await Promise.all(marked)
  assert.ok(outcomes.every((outcome) => outcome instanceof S2Error))
})
