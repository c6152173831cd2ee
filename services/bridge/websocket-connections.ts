import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { S2Error } from '#fleet/errors.ts'
import { waitAtMost } from '#runtime/bounded-wait.ts'
import { CLOSE } from '#store/remote/frames.ts'
import { PROBLEM_TYPE, toProblem } from '#store/remote/problem-details.ts'
import { SOCKET_PATH } from '#store/remote/wire-schema.ts'
import { countedAddress } from './address-limits.ts'
import type { HostHeaderCheck } from './host-header-check.ts'
import { WebSocketConnection, type WebSocketConnectionParts } from './websocket-connection.ts'

export interface WebSocketConnectionsParts extends WebSocketConnectionParts {
  readonly hostHeader: HostHeaderCheck
  readonly draining: AbortSignal
  /** Bytes of the largest frame. */
  readonly frameMax: number
}

/** Hosts, and sockets that have not joined yet: whoever only opens them takes the place of no host. */
const CONNECTIONS_MAX = 16_384
const UNJOINED_MAX = 8_192
/** How long hosts may take to close their sockets when the bridge stops. */
const GOODBYE_MS = 1_000
/** The time from one host that is told of new credentials to the next. */
const HINTS_APART_MS = 5

/** All hosts that hold a WebSocket to this bridge. */
export class WebSocketConnections {
  readonly #parts: WebSocketConnectionsParts
  readonly #server: WebSocketServer
  readonly #connections = new Set<WebSocketConnection>()
  /** Those of each address that have not joined, the oldest first. */
  readonly #unjoined = new Map<string, Set<WebSocketConnection>>()
  #unjoinedCount = 0
  #emptied: PromiseWithResolvers<void> | null = null

  constructor(parts: WebSocketConnectionsParts) {
    this.#parts = parts
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: parts.frameMax,
      maxFragments: 64,
      maxBufferedChunks: 4096,
    })
  }

  get hosts(): number {
    return this.#connections.size
  }

  get sessions(): number {
    let sum = 0
    for (const { sessions } of this.#connections) sum += sessions
    return sum
  }

  readonly onUpgrade = (request: IncomingMessage, wire: Duplex, head: Buffer): void => {
    wire.on('error', () => undefined)
    let authority: string
    try {
      authority = this.#check(request)
    } catch (error) {
      this.#refuse(request, wire, error)
      return
    }
    const address = countedAddress(request.socket.remoteAddress)
    this.#server.handleUpgrade(request, wire, head, (ws) => {
      const onProved = (): void => this.#removeUnjoined(address, connection)
      const connection = new WebSocketConnection(ws, wire, { authority, address, onProved }, this.#parts)
      this.#connections.add(connection)
      this.#addUnjoined(address, connection)
      ws.on('close', () => {
        this.#removeUnjoined(address, connection)
        this.#connections.delete(connection)
        if (this.#connections.size === 0) this.#emptied?.resolve()
      })
    })
  }

  /** Where there are too many, the oldest goes: a host joins at once, so those that are old are none. */
  #addUnjoined(address: string, connection: WebSocketConnection): void {
    const own = this.#unjoined.get(address) ?? new Set()
    this.#unjoined.set(address, own.add(connection))
    this.#unjoinedCount += 1
    const isOver = own.size > this.#parts.addresses.unjoinedMax(address) || this.#unjoinedCount > UNJOINED_MAX
    const [oldest] = own
    if (!isOver || oldest === undefined) return
    this.#removeUnjoined(address, oldest)
    oldest.terminate()
  }

  #removeUnjoined(address: string, connection: WebSocketConnection): void {
    const own = this.#unjoined.get(address)
    if (own?.delete(connection) !== true) return
    this.#unjoinedCount -= 1
    if (own.size === 0) this.#unjoined.delete(address)
  }

  /** Ends dead, slow and idle ones. */
  inspect(): void {
    const now = this.#parts.clock.now()
    for (const connection of this.#connections) connection.inspect(now)
  }

  /** Removes sessions whose tokens have ended: of one conversation, or of all. */
  async recheck(conversation: string | null = null): Promise<void> {
    for (const connection of [...this.#connections]) {
      const sessions = connection.sessionsOf(conversation)
      if (sessions.length > 0) await connection.recheck(sessions)
    }
  }

  /** Hosts are told one after the other, so that they do not ask the remote in one moment: few within a moment, many within seconds. */
  async hintCredentials(conversations: readonly string[], signal: AbortSignal): Promise<void> {
    const hinted = new Set(conversations)
    for (const connection of this.#connections) {
      if (signal.aborted) return
      if (connection.hintCredentials(hinted))
        await this.#parts.clock.sleep(HINTS_APART_MS, signal).catch(() => undefined)
    }
  }

  /** Tells all hosts that the bridge stops, and waits a moment for them. */
  async close(): Promise<void> {
    if (this.#connections.size === 0) return
    this.#emptied = Promise.withResolvers()
    for (const connection of this.#connections) connection.close(CLOSE.goingAway, 'the bridge stops')
    await waitAtMost(this.#emptied.promise, GOODBYE_MS, this.#parts.clock)
    for (const connection of [...this.#connections]) connection.terminate()
  }

  /** Answers the name that the host used for this bridge. */
  #check(request: IncomingMessage): string {
    const authority = this.#parts.hostHeader.check(request)
    if (request.url !== SOCKET_PATH) {
      throw new S2Error('not_found', 'there is no WebSocket at this path', { next: `open ${SOCKET_PATH}` })
    }
    if (this.#parts.draining.aborted) {
      throw new S2Error('unavailable', 'the bridge is stopping', { next: 'try again in a while', retryAfterS: 1 })
    }
    if (this.#connections.size - this.#unjoinedCount >= CONNECTIONS_MAX) {
      throw new S2Error('unavailable', 'too many hosts are connected', {
        next: 'try again in a while',
        retryAfterS: 10,
      })
    }
    return authority
  }

  #refuse(request: IncomingMessage, wire: Duplex, error: unknown): void {
    const id = this.#parts.errors.report(error, 'socket', request.socket.remoteAddress ?? null)
    const problem = toProblem(error, id)
    const text = JSON.stringify(problem)
    const lines = [
      `HTTP/1.1 ${problem.status} ${problem.title}`,
      `content-type: ${PROBLEM_TYPE}`,
      `content-length: ${Buffer.byteLength(text)}`,
      'connection: close',
    ]
    wire.end(`${lines.join('\r\n')}\r\n\r\n${text}`)
  }
}
