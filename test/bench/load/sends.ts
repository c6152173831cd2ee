/** Sends over HTTP/1.1, each connection with one request under way and the next at once; signed beforehand. */
import { createConnection, type Socket } from 'node:net'
import type { SessionId } from '#fleet/session-id.ts'
import { Samples } from './samples.ts'
import { serve } from './serve.ts'
import { readAnswer, signedSend, someText } from './signed.ts'
import { Pieces } from './talker.ts'

export interface SendsJob {
  readonly port: number
  /** A connection for each. */
  readonly sessions: readonly { readonly session: SessionId; readonly token: string }[]
  readonly textLength: number
}

export interface SendsOrder {
  /** All connections together. */
  readonly count: number
}

class Client {
  readonly #job: SendsJob
  readonly #sender: SendsJob['sessions'][number]
  readonly #socket: Socket
  readonly #pieces = new Pieces()
  readonly #opened = Promise.withResolvers<void>()
  #requests: Buffer[] = []
  #at = 0
  #sentAt = 0
  #onAnswer: ((ms: number, isLast: boolean) => void) | undefined
  #onFault: (error: Error) => void = this.#opened.reject

  constructor(job: SendsJob, sender: SendsJob['sessions'][number], lent: Buffer) {
    this.#job = job
    this.#sender = sender
    this.#socket = createConnection({
      host: '127.0.0.1',
      port: job.port,
      noDelay: true,
      onread: { buffer: lent, callback: (size) => this.#take(lent.subarray(0, size)) },
    })
    this.#socket.on('connect', () => this.#opened.resolve())
    this.#socket.on('error', (error) => this.#onFault(error))
    this.#socket.on('close', () => this.#onFault(new Error('the bridge closed a connection')))
  }

  get opened(): Promise<void> {
    return this.#opened.promise
  }

  sign(count: number): void {
    this.#requests = Array.from({ length: count }, () =>
      signedSend({ port: this.#job.port, ...this.#sender }, someText(this.#job.textLength)),
    )
    this.#at = 0
  }

  start(onAnswer: (ms: number, isLast: boolean) => void, onFault: (error: Error) => void): void {
    this.#onAnswer = onAnswer
    this.#onFault = onFault
    this.#send()
  }

  #send(): void {
    this.#sentAt = performance.now()
    this.#socket.write(this.#requests[this.#at] as Buffer)
    this.#at += 1
  }

  #take(chunk: Buffer): boolean {
    const all = this.#pieces.join(chunk)
    const answer = readAnswer(all)
    this.#pieces.keep(answer === null ? all : all.subarray(answer.end))
    if (answer === null) return true
    if (answer.status !== 200) this.#onFault(new Error(all.toString('utf8', 0, answer.end)))
    else {
      const isLast = this.#at === this.#requests.length
      this.#onAnswer?.(performance.now() - this.#sentAt, isLast)
      if (!isLast) this.#send()
    }
    return true
  }
}

serve<SendsJob, SendsOrder>(async (job) => {
  const lent = Buffer.alloc(65_536)
  const clients = job.sessions.map((session) => new Client(job, session, lent))
  await Promise.all(clients.map(({ opened }) => opened))
  return async ({ count }) => {
    for (const client of clients) client.sign(Math.ceil(count / clients.length))
    return () => sendAll(clients)
  }
})

function sendAll(clients: readonly Client[]): Promise<Float64Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Float64Array>()
  const samples = new Samples()
  let sending = clients.length
  for (const client of clients) {
    client.start((ms, isLast) => {
      samples.add(ms)
      if (isLast) sending -= 1
      if (sending === 0) resolve(samples.all())
    }, reject)
  }
  return promise
}
