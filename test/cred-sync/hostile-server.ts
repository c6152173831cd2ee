import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

/** What a hostile server does when it is asked; what is left out it does as an honest one. */
export interface Script {
  /** The commit that the branch `main` is said to be at. */
  readonly tip: string
  /** Answers a question for refs. */
  readonly refs?: (answer: Answer) => Promise<void> | void
  /** Answers a fetch. */
  readonly fetch?: (answer: Answer) => Promise<void> | void
  readonly pack?: Buffer
}

/** A git server that lies: it speaks version 2 of git's protocol, and says what its script says. gitprotocol-v2(5) */
export class HostileServer implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  script: Script
  /** How often something was fetched. */
  fetches = 0

  private constructor(script: Script) {
    this.script = script
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      const onFetch = (): void => {
        this.fetches += 1
      }
      void serve(socket, () => this.script, onFetch).catch(() => socket.destroy())
    })
  }

  static async start(script: Script): Promise<HostileServer> {
    const started = new HostileServer(script)
    started.#server.listen(0, '127.0.0.1')
    await once(started.#server, 'listening')
    return started
  }

  get url(): string {
    const address = this.#server.address()
    if (typeof address !== 'object' || address === null) throw new Error('it does not listen')
    return `git://127.0.0.1:${address.port}/fleet.git`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

export class Answer {
  readonly #socket: Socket
  /** The client says what it has, and waits for an answer to that first. */
  isNegotiating = false

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** Waits until the other side has room; rejects once it is gone. */
  async raw(bytes: Buffer | string): Promise<void> {
    if (this.#socket.destroyed) throw new Error('the client is gone')
    if (this.#socket.write(bytes)) return
    const { promise, resolve } = Promise.withResolvers<void>()
    for (const event of ['drain', 'close']) this.#socket.once(event, resolve)
    await promise
    for (const event of ['drain', 'close']) this.#socket.off(event, resolve)
  }

  line(text: string): Promise<void> {
    return this.raw(packet(text))
  }

  /** Many lines at once. */
  lines(texts: readonly string[]): Promise<void> {
    return this.raw(Buffer.concat(texts.map(packet)))
  }

  /** Ends a list. */
  flush(): Promise<void> {
    return this.raw('0000')
  }

  /** Says how a shallow fetch goes on: with the pack, whatever the client has already. */
  async beginPack(tip: string): Promise<void> {
    if (this.isNegotiating) {
      await this.line('acknowledgments\n')
      await this.line('ready\n')
      await this.raw('0001')
    }
    await this.line('shallow-info\n')
    await this.line(`shallow ${tip}\n`)
    await this.raw('0001')
    await this.line('packfile\n')
  }

  /** A part of the pack (1), or words for people (2). */
  async band(number: 1 | 2, bytes: Buffer): Promise<void> {
    const most = 65_515
    for (let at = 0; at < bytes.length; at += most)
      await this.raw(packet(Buffer.concat([Buffer.of(number), bytes.subarray(at, at + most)])))
  }
}

function packet(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, '0')), bytes])
}

async function serve(socket: Socket, script: () => Script, onFetch: () => void): Promise<void> {
  const answer = new Answer(socket)
  const packets = packetsOf(socket)
  await packets.next() // which repository it wants
  for (const each of ['version 2\n', 'agent=git/2\n', 'ls-refs\n', 'fetch=shallow\n', 'object-format=sha1\n'])
    await answer.line(each)
  await answer.flush()
  let asked = ''
  for await (const each of packets) {
    if (each !== null) {
      asked += each
      continue
    }
    const { tip, refs = honestRefs(tip), fetch = honestFetch(script()) } = script()
    if (asked.includes('command=ls-refs')) await refs(answer)
    if (asked.includes('command=fetch')) {
      answer.isNegotiating = asked.includes('have ') && !asked.includes('done')
      onFetch()
      await fetch(answer)
    }
    asked = ''
  }
}

function honestRefs(tip: string): (answer: Answer) => Promise<void> {
  return async (answer) => {
    await answer.line(`${tip} refs/heads/main\n`)
    await answer.flush()
  }
}

function honestFetch({ tip, pack = Buffer.of() }: Script): (answer: Answer) => Promise<void> {
  return async (answer) => {
    await answer.beginPack(tip)
    await answer.band(1, pack)
    await answer.flush()
  }
}

/** The packets that come; null: the end of a list. */
async function* packetsOf(socket: Socket): AsyncGenerator<string | null> {
  let held = Buffer.of()
  for await (const chunk of socket) {
    held = Buffer.concat([held, chunk])
    while (held.length >= 4) {
      const length = Number.parseInt(held.subarray(0, 4).toString(), 16)
      if (length > held.length) break
      if (length === 0) yield null
      else if (length > 4) yield held.subarray(4, length).toString('latin1')
      held = held.subarray(Math.max(length, 4))
    }
  }
}
