import { chmod, mkdir, unlink } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createConnection, type ListenOptions, type Server } from 'node:net'
import { dirname } from 'node:path'
import type { Redact } from './log.ts'
import { type SocketPath, socketPath } from './long-socket-path.ts'
import { Metrics } from './metrics.ts'
import { ConfigError } from './read-settings.ts'
import type { Address } from './setting-parsers.ts'

/** What a program answers to whoever asks for its health. */
export interface HealthReport {
  /** init, ready, stuck, draining or stopped. */
  readonly state: string
  readonly ready: boolean
  readonly status: string
  readonly troubles: Readonly<Record<string, string>>
  /** What does not keep it from its work. */
  readonly warnings: Readonly<Record<string, string>>
}

/** The health of a program: its state, its troubles, and its metrics. */
export class Health {
  readonly metrics = new Metrics()
  #state: 'init' | 'ready' | 'draining' | 'stopped' = 'init'
  #troubles = new Map<string, string>()
  #warnings = new Map<string, string>()
  #status = ''
  readonly #isStuck: () => boolean
  readonly #redact: Redact

  /** @param isStuck whether a round of work is overdue */
  constructor(isStuck: () => boolean = () => false, redact: Redact = (text) => text) {
    this.#isStuck = isStuck
    this.#redact = redact
  }

  /** init, ready, stuck, draining, stopped. */
  get state(): string {
    return this.#state === 'ready' && this.#isStuck() ? 'stuck' : this.#state
  }

  enter(state: 'init' | 'ready' | 'draining' | 'stopped'): void {
    this.#state = state
  }

  /** Sets the line that says what the program does now. */
  status(line: string): void {
    this.#status = line
  }

  /** Records why a part of the work cannot be done; null for the same topic ends that. */
  trouble(topic: string, why: string | null): void {
    if (why === null) this.#troubles.delete(topic)
    else this.#troubles.set(topic, this.#redact(why))
  }

  /** Records what people should see to while all of the work is done; null for the same topic ends that. */
  warning(topic: string, why: string | null): void {
    if (why === null) this.#warnings.delete(topic)
    else this.#warnings.set(topic, this.#redact(why))
  }

  get ready(): boolean {
    return this.state === 'ready' && this.#troubles.size === 0
  }

  report(): HealthReport {
    return {
      state: this.state,
      ready: this.ready,
      status: this.#status,
      troubles: Object.fromEntries(this.#troubles),
      warnings: Object.fromEntries(this.#warnings),
    }
  }
}

/** Serves `/healthz` (is not stuck), `/readyz` (can work, or why not) and `/metrics` until disposed. */
export async function serveHealth(health: Health, address: Address): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0]
    if (path === '/metrics') {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(health.metrics.text())
      return
    }
    const known = path === '/healthz' || path === '/readyz'
    const isWell = path === '/readyz' ? health.ready : health.state !== 'stuck'
    const status = !known ? 404 : isWell ? 200 : 503
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(`${JSON.stringify(known ? health.report() : { error: 'ask /healthz, /readyz or /metrics' })}\n`)
  })
  server.requestTimeout = 5_000
  server.headersTimeout = 5_000
  await listen(server, address)
  server.unref()
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Listens on an address; takes over a socket file on which no program answers. Throws ConfigError. */
export async function listen(server: Server, address: Address): Promise<void> {
  if (!('path' in address)) return await bind(server, { host: address.host, port: address.port }, address)
  await mkdir(dirname(address.path), { recursive: true, mode: 0o700 }).catch((error) => {
    throw listenError(error, address)
  })
  const short = openSocketPath(address.path)
  try {
    if (await answers(short.path))
      throw new ConfigError([
        `${address.path} is in use: the program already runs with this state folder; use that one, or end it first`,
      ])
    await unlink(address.path).catch(() => undefined)
    await bind(server, { path: short.path }, address)
    await chmod(address.path, 0o660)
  } catch (error) {
    short[Symbol.dispose]()
    throw error
  }
  server.once('close', () => short[Symbol.dispose]())
}

function openSocketPath(path: string): SocketPath {
  try {
    return socketPath(path)
  } catch (error) {
    throw listenError(error as NodeJS.ErrnoException, { path })
  }
}

async function bind(server: Server, where: ListenOptions, address: Address): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, address)))
    server.listen(where, resolve)
  })
  server.removeAllListeners('error')
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

function listenError(error: NodeJS.ErrnoException, address: Address): Error {
  const where = 'path' in address ? address.path : `${address.host}:${address.port}`
  const mend =
    error.code === 'EADDRINUSE'
      ? 'another program listens there: stop it, or choose another address'
      : error.code === 'EACCES'
        ? 'not permitted: choose a port above 1023 or a folder you own'
        : error.code === 'EADDRNOTAVAIL'
          ? 'this machine has no such address'
          : error.message
  return new ConfigError([`cannot listen on ${where}: ${mend}`])
}
