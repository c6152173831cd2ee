/** Beats over many connections, one under way on each, for as long as a round lasts. */
import { createConnection, type Socket } from 'node:net'
import type { SessionId } from '#fleet/session-id.ts'
import { PLACE } from './digits.ts'
import { EtcdTalker } from './etcd.ts'
import { bucketRequest, NatsTalker } from './nats.ts'
import { Samples } from './samples.ts'
import { serve } from './serve.ts'
import type { Ears, Talker } from './talker.ts'
import { WebSocketTalker } from './websocket.ts'

export interface BeatsJob {
  readonly server: 'bridge' | 'nats' | 'etcd'
  readonly port: number
  /** A connection for each; only the bridge looks at the token. */
  readonly sessions: readonly { readonly session: SessionId; readonly token: string }[]
}

export interface BeatsOrder {
  readonly forMs: number
}

const BUCKET = 'beats'
/** Connections that are opened at a time. */
const OPENING_MAX = 100

class Line {
  readonly #socket: Socket
  readonly #talker: Talker
  readonly #ready = Promise.withResolvers<void>()
  #sentAt = 0
  #onAck: ((ms: number) => boolean) | undefined
  #onFault: (error: Error) => void

  constructor(port: number, makeTalker: (ears: Ears) => Talker, lent: Buffer) {
    this.#onFault = this.#ready.reject
    this.#talker = makeTalker({
      write: (bytes) => void this.#socket.write(bytes),
      onReady: () => this.#ready.resolve(),
      onAck: () => this.#acked(),
    })
    this.#socket = createConnection({
      host: '127.0.0.1',
      port,
      noDelay: true,
      // one buffer serves all, since what was read is used up before the next read
      onread: { buffer: lent, callback: (size) => this.#take(lent.subarray(0, size)) },
    })
    this.#socket.on('error', (error) => this.#onFault(error))
    this.#socket.on('close', () => this.#onFault(new Error('the server closed a connection')))
    const hello = this.#talker.hello()
    if (hello !== null) this.#socket.write(hello)
  }

  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Beats until `onAck` answers false. */
  beat(onAck: (ms: number) => boolean, onFault: (error: Error) => void): void {
    this.#onAck = onAck
    this.#onFault = onFault
    this.#send()
  }

  #send(): void {
    this.#sentAt = performance.now()
    this.#socket.write(this.#talker.beat())
  }

  #acked(): void {
    if (this.#onAck?.(performance.now() - this.#sentAt) === true) this.#send()
  }

  #take(chunk: Buffer): boolean {
    try {
      this.#talker.take(chunk)
    } catch (error) {
      this.#onFault(error as Error)
    }
    return true
  }
}

serve<BeatsJob, BeatsOrder>(async (job) => {
  const lent = Buffer.alloc(65_536)
  if (job.server === 'nats') await makeBucket(job.port)
  const lines: Line[] = []
  for (let at = 0; at < job.sessions.length; at += OPENING_MAX) {
    const opening = job.sessions
      .slice(at, at + OPENING_MAX)
      .map((session, index) => new Line(job.port, (ears) => talkerFor(job, session, at + index, ears), lent))
    await Promise.all(opening.map(({ ready }) => ready))
    lines.push(...opening)
  }
  return async ({ forMs }) =>
    () =>
      beatAll(lines, forMs)
})

function talkerFor(job: BeatsJob, { session, token }: BeatsJob['sessions'][number], index: number, ears: Ears): Talker {
  const beat = JSON.stringify({ session, host: 'bench', incarnation: 'bench-1', seq: PLACE, work: 0 })
  if (job.server === 'bridge') return new WebSocketTalker(ears, job.port, session, token, beat)
  if (job.server === 'nats') return new NatsTalker(ears, BUCKET, `host${index}`, beat)
  return new EtcdTalker(ears, job.port, index + 1)
}

function beatAll(lines: readonly Line[], forMs: number): Promise<Float64Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Float64Array>()
  const samples = new Samples()
  const end = performance.now() + forMs
  let beating = lines.length
  const onAck = (ms: number): boolean => {
    samples.add(ms)
    if (performance.now() < end) return true
    beating -= 1
    if (beating === 0) resolve(samples.all())
    return false
  }
  for (const line of lines) line.beat(onAck, reject)
  return promise
}

async function makeBucket(port: number): Promise<void> {
  const socket = createConnection({ host: '127.0.0.1', port })
  let heard = ''
  socket.write('CONNECT {"verbose":false,"protocol":1}\r\nSUB _INBOX.make 1\r\n')
  socket.write(bucketRequest(BUCKET))
  for await (const chunk of socket) {
    heard += chunk
    if (/MSG .*\r\n.*\r\n/.test(heard)) break
  }
  if (!heard.includes('"did_create":true')) throw new Error(`no bucket: ${heard}`)
}
