import { randomBytes } from 'node:crypto'
import { type ClientRequest, Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type SignatureHeaders, sign, verifyAnswer } from '#fleet/signature.ts'
import { backoff, Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { type SocketPath, socketPath } from '#runtime/long-socket-path.ts'
import { type BridgeTrust, demandPrivate, tlsOptions } from './bridge-trust.ts'
import { answerOf, bodyOf, linesOf, type ReceivedAnswer, responseOf } from './http-answer.ts'
import { ClockError, fromProblem, fromStatus, fromUnsigned } from './problem-details.ts'
import { checkOf, schemaFaultOf } from './schema-check.ts'
import { adviceOnCertificate } from './tls-error-advice.ts'
import { type Input, type Output, ROOT, STREAMS, type StreamName, VERBS, type VerbName } from './wire-schema.ts'
import type { Frozen } from './wire-values.ts'

/** Where a bridge is: an origin for signed requests, or the path of its administration socket. */
export type BridgeAddressee =
  | { readonly origin: URL; readonly trust: BridgeTrust; readonly allowsPlain: boolean }
  | { readonly socketPath: string }

export interface HttpClientParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
}

export interface Key {
  readonly session: SessionId
  readonly token: string
}

const TRIES_MAX = 3
/** How long another try may begin. The last one has its whole time too: a bridge may do at its end what it was asked in it. */
const TRYING_MS = 15_000
const RETRY = { firstMs: 100, mostMs: 2_000 }
const STREAM_RETRY = { firstMs: 50, mostMs: 5_000 }
/** How long a stream may bring nothing: the bridge sends an empty line every 10 s. */
const STREAM_QUIET_MS = 30_000

/** Sends requests to a bridge: signs them, bounds the wait for an answer, and retries where that can do no harm. */
export class HttpClient implements Disposable {
  readonly #target: BridgeAddressee
  readonly #parts: HttpClientParts
  readonly #callMs: number
  #agent: HttpAgent
  #pinOfAgent: string | undefined
  readonly #closed = new AbortController()
  /** The bridge's wall clock minus this machine's. */
  #offsetMs = 0
  #answers = false
  #socketPath: SocketPath | null = null

  constructor(target: BridgeAddressee, parts: HttpClientParts, callMs: number) {
    this.#target = target
    this.#parts = parts
    this.#callMs = callMs
    this.#agent = agentFor(target)
  }

  /** Whether the last request was answered, even with a refusal. */
  get answers(): boolean {
    return this.#answers
  }

  /** `key` is null where nothing is signed. */
  async ask<N extends VerbName>(name: N, input: Frozen<Input<N>>, key: Key | null): Promise<Output<N>> {
    const { clock } = this.#parts
    const body = Buffer.from(JSON.stringify(input))
    const until = clock.now() + TRYING_MS
    for (let attempt = 0; ; attempt += 1) {
      try {
        return (await this.#askOnce(name, body, key)) as Output<N>
      } catch (error) {
        const waitMs = this.#pauseAfter(error, attempt, name)
        if (waitMs === null || clock.now() + waitMs >= until) throw withAdvice(error, name)
        await clock.sleep(waitMs, this.#closed.signal).catch(() => undefined)
        if (this.#closed.signal.aborted) throw withAdvice(error, name) // a connection that is opened now would be closed by nobody
      }
    }
  }

  /** Items of a stream until the signal aborts, over as many connections as it takes; each begins at `cursor()`. */
  async *listen(name: StreamName, cursor: () => object, signal: AbortSignal): AsyncGenerator<unknown> {
    const both = AbortSignal.any([signal, this.#closed.signal])
    const pauses = new Pauses(STREAM_RETRY, this.#parts.chance)
    while (!both.aborted) {
      try {
        for await (const item of this.#lines(name, cursor(), both)) {
          pauses.succeeded()
          yield item
        }
      } catch (error) {
        if (both.aborted) return
        if (!(error instanceof S2Error) || error.code !== 'unavailable') throw error
        if (pauses.failures === 0) this.#parts.log.debug('stream broken, retrying', { name, why: error.message })
      }
      await pauses.wait(this.#parts.clock, both)
    }
  }

  [Symbol.dispose](): void {
    this.#closed.abort()
    this.#agent.destroy()
    this.#socketPath?.[Symbol.dispose]()
  }

  /** Milliseconds to wait before a retry; null where a retry is useless or could do harm. */
  #pauseAfter(error: unknown, attempt: number, name: VerbName): number | null {
    if (!(error instanceof S2Error) || this.#closed.signal.aborted) return null
    // A bridge that has just started says when it will accept signatures: waiting for that does not count as a try.
    const isAwaited = error instanceof ClockError && error.retryAfterS !== undefined
    if (attempt >= TRIES_MAX - 1 && !isAwaited) return null
    if (error instanceof ClockError) return this.#setClock(error)
    const again =
      error.code === 'unavailable' ||
      error.code === 'rate_limited' ||
      (error.code === 'unknown_outcome' && VERBS[name].effect !== 'once')
    if (!again) return null
    return Math.max((error.retryAfterS ?? 0) * 1000, backoff(attempt, RETRY, this.#parts.chance))
  }

  /** Signs by the bridge's clock from now on. A bridge that has just started says how long it accepts nothing yet. */
  #setClock({ time, retryAfterS, message }: ClockError): number {
    const offsetMs = time - this.#parts.clock.wall()
    if (Math.abs(offsetMs - this.#offsetMs) > 1_000) {
      this.#parts.log.warn('clock differs from the bridge’s, signing by the bridge’s', { offsetMs, why: message })
    }
    this.#offsetMs = offsetMs
    // The bridge tells all callers the same moment: the random part keeps them from coming together.
    return retryAfterS === undefined ? 0 : retryAfterS * 1000 + backoff(0, RETRY, this.#parts.chance)
  }

  async #askOnce(name: VerbName, body: Buffer, key: Key | null): Promise<unknown> {
    const { effect, output } = VERBS[name]
    const writes = effect !== 'reads'
    const { status, text, isSigned } = await this.#exchange(ROOT + name, body, key, writes)
    // Whoever holds no token of ours must not tell us what to run, what is lost, or what time it is.
    if (!isSigned) throw fromUnsigned(parse(text), status, { where: this.#where, writes })
    if (status !== 200) throw problemOf(text, status, writes)
    const value = parse(text)
    if (!checkOf(output).Check(value)) throw this.#unreadable(name, `: ${schemaFaultOf(output, value)}`)
    return value
  }

  /** Sends one request and waits for its answer, at most as long as a call may take. */
  async #exchange(path: string, body: Buffer, key: Key | null, writes: boolean): Promise<CheckedAnswer> {
    if ('origin' in this.#target) demandPrivate(this.#target.origin, this.#target.allowsPlain)
    this.#followPin()
    const over = new AbortController()
    const late = AbortSignal.any([over.signal, this.#closed.signal])
    const headers = key === null ? null : this.#signed(path, body, key)
    const request = this.#open(path, body, headers, this.#agent)
    const reach = watchReach(request)
    try {
      const answer = Promise.race([answerOf(request), this.#deadline(late)])
      request.end(body)
      const arrived = await answer
      this.#answers = true
      return {
        ...arrived,
        text: arrived.body.toString('utf8'),
        isSigned: key === null || isGenuine(arrived, headers, key),
      }
    } catch (error) {
      request.destroy()
      this.#answers = false
      throw this.#errorOf(error, reach.sent && writes)
    } finally {
      over.abort()
    }
  }

  /** Rejects when the time has passed, or when the store is closed. */
  async #deadline(signal: AbortSignal): Promise<never> {
    await this.#parts.clock.sleep(this.#callMs, signal).catch(() => undefined)
    throw new Error(this.#closed.signal.aborted ? 'the store was closed' : `no answer within ${this.#callMs / 1000} s`)
  }

  /** Reads a stream's items until it breaks off; then throws `unavailable`, or what the bridge says is wrong. */
  async *#lines(name: StreamName, input: object, signal: AbortSignal): AsyncGenerator<unknown> {
    const body = Buffer.from(JSON.stringify(input))
    const request = this.#open(ROOT + name, body, null, false)
    request.once('timeout', () => request.destroy(new Error('the stream brings nothing any more')))
    const onAbort = (): void => void request.destroy()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      request.end(body)
      const response = await responseOf(request)
      if (response.statusCode !== 200) throw problemOf(String(await bodyOf(response)), response.statusCode ?? 0, false)
      for await (const line of linesOf(response)) {
        const value = parse(line)
        if (!checkOf(STREAMS[name].item).Check(value)) throw fromProblem(value) ?? this.#unreadable(name)
        yield value
      }
      throw new Error('the stream ended')
    } catch (error) {
      throw error instanceof S2Error ? error : this.#errorOf(error, false)
    } finally {
      signal.removeEventListener('abort', onAbort)
      request.destroy()
    }
  }

  #open(path: string, body: Buffer, signature: object | null, agent: HttpAgent | false): ClientRequest {
    const headers = { 'content-type': 'application/json', 'content-length': body.length, ...signature }
    // For kept connections the agent has a timeout of its own.
    const common = { method: 'POST', path, headers, agent, ...(agent === false ? { timeout: STREAM_QUIET_MS } : {}) }
    if ('socketPath' in this.#target) {
      return httpRequest({ ...common, socketPath: this.#shortSocketPath(this.#target.socketPath), host: 'localhost' })
    }
    const { origin, trust } = this.#target
    const { protocol, hostname, port } = origin
    const where = { hostname: hostname.replace(/^\[(.*)\]$/, '$1'), ...(port === '' ? {} : { port }) }
    if (protocol === 'http:') return httpRequest({ ...common, ...where })
    // Read for every request: the agent keeps connections of different authorities apart.
    return httpsRequest({ ...common, ...where, ...tlsOptions(trust) })
  }

  /** What connections were opened under another pin is not used any more. */
  #followPin(): void {
    const pin = 'origin' in this.#target ? this.#target.trust.pin() : undefined
    if (pin === this.#pinOfAgent) return
    this.#pinOfAgent = pin
    this.#agent.destroy()
    this.#agent = agentFor(this.#target)
  }

  #signed(path: string, body: Buffer, { session, token }: Key) {
    const created = Math.floor((this.#parts.clock.wall() + this.#offsetMs) / 1000)
    const nonce = randomBytes(16).toString('base64url')
    const authority = 'origin' in this.#target ? this.#target.origin.host : 'localhost'
    return sign({ method: 'POST', authority, path, query: '?', body }, { session, token, created, nonce })
  }

  get #where(): string {
    return 'origin' in this.#target ? this.#target.origin.origin : this.#target.socketPath
  }

  /** A path of the socket that is short enough for connect(2), however deep its folder lies. */
  #shortSocketPath(path: string): string {
    try {
      this.#socketPath ??= socketPath(path)
    } catch (error) {
      throw this.#errorOf(error, false)
    }
    return this.#socketPath.path
  }

  #errorOf(error: unknown, mayHaveHappened: boolean): S2Error {
    // The folder of the socket may have been replaced: the next request looks for it again.
    this.#socketPath?.[Symbol.dispose]()
    this.#socketPath = null
    const where = this.#where
    const { code, message } = error as NodeJS.ErrnoException
    if (mayHaveHappened) {
      return new S2Error(
        'unknown_outcome',
        `the bridge at ${where} was asked and did not answer (${code ?? message})`,
        { cause: error },
      )
    }
    const carried = 'origin' in this.#target && this.#target.trust.authority() !== undefined
    const fault = adviceOnCertificate(error, { carried })
    if (fault !== null) {
      const { what, next } = fault
      return new S2Error('unavailable', `the bridge at ${where} cannot be reached: ${what}`, { next, cause: error })
    }
    return new S2Error('unavailable', `the bridge at ${where} cannot be reached (${code ?? message})`, {
      next: adviceOn(code, where),
      cause: error,
    })
  }

  #unreadable(name: string, why = ''): S2Error {
    return new S2Error('internal', `the bridge's answer to ${name} cannot be read${why}`, {
      next: 'check that both sides have the same version of S2',
    })
  }
}

interface CheckedAnswer {
  readonly status: number
  readonly text: string
  /** Whether the bridge gave it to this very request; true where nothing is signed. */
  readonly isSigned: boolean
}

function agentFor(target: BridgeAddressee): HttpAgent {
  // Idle connections are closed before the bridge closes them (75 s), so that no request meets a reset.
  const options = { keepAlive: true, maxSockets: 64, maxFreeSockets: 16, timeout: 60_000 }
  const isTls = 'origin' in target && target.origin.protocol === 'https:'
  return isTls ? new HttpsAgent(options) : new HttpAgent(options)
}

function isGenuine({ status, headers, body }: ReceivedAnswer, sent: SignatureHeaders | null, key: Key): boolean {
  const requestSignature = sent?.signature.slice('s2=:'.length, -1) ?? ''
  return verifyAnswer({ status, body, requestSignature }, headers, key)
}

/** Notes when a request may have reached the bridge: from then on it may have happened even without an answer. */
function watchReach(request: ClientRequest): { readonly sent: boolean } {
  const reach = { sent: false }
  request.once('socket', (socket) => {
    const onOpen = (): void => {
      reach.sent = true
    }
    // A request that waited for a free connection of others is not marked as one that reuses it.
    if (request.reusedSocket || !socket.connecting) onOpen()
    else socket.once(request.protocol === 'https:' ? 'secureConnect' : 'connect', onOpen)
  })
  return reach
}

/** Undefined for what is not JSON: no schema fits that. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What to do about an unknown outcome depends on the verb: one that is done once would be done twice. */
function withAdvice(error: unknown, name: VerbName): unknown {
  if (!(error instanceof S2Error) || error.code !== 'unknown_outcome') return error
  const { message, next, cause, id } = error
  if (VERBS[name].effect === 'once')
    return new S2Error('unknown_outcome', message, { next: LOOK_FIRST, cause, ...(id === undefined ? {} : { id }) })
  return next === undefined
    ? new S2Error('unknown_outcome', message, { next: ASK_AGAIN, cause, ...(id === undefined ? {} : { id }) })
    : error
}

const LOOK_FIRST = 'look whether it happened before you ask again'
const ASK_AGAIN = 'ask again with the same key or id: nothing is done twice'

function problemOf(text: string, status: number, writes: boolean): S2Error {
  return fromProblem(parse(text)) ?? fromStatus(status, writes)
}

function adviceOn(code: string | undefined, where: string): string {
  if (code === 'ECONNREFUSED' || code === 'ENOENT')
    return `start the bridge that should listen at ${where}, or correct the address`
  if (code === 'EACCES') return `let this user open ${where}`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return 'correct the name in the address, or the name resolution of this host'
  if (code === 'EPROTO') {
    return 'what listens there may speak no TLS: give the bridge a certificate (S2_TLS_CERT), or correct the address'
  }
  return 'try again; if it goes on, check the bridge and the network between'
}
