import type { IncomingMessage, ServerResponse } from 'node:http'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { conversationOf, isObserver, type SessionId } from '#fleet/session-id.ts'
import { type RequestHead, readClaim, signAnswer } from '#fleet/signature.ts'
import type { Clock } from '#runtime/clock.ts'
import { PROBLEM_TYPE, toProblem } from '#store/remote/problem-details.ts'
import { checkOf, schemaFaultOf } from '#store/remote/schema-check.ts'
import {
  type Input,
  type Output,
  ROOT,
  STREAMS,
  type StreamName,
  VERBS,
  type VerbName,
} from '#store/remote/wire-schema.ts'
import type { Verb } from '#store/remote/wire-verb.ts'
import { withinRequest } from '#store/request-context.ts'
import type { Store } from '#store/store.ts'
import { type AddressLimits, countedAddress } from './address-limits.ts'
import { type Authentication, type Caller, tooManyUnknown } from './authentication.ts'
import type { HostHeaderCheck } from './host-header-check.ts'
import { MCP_PATH, McpDoor } from './mcp-door.ts'
import { streamLines } from './ndjson-stream.ts'
import { parseJson } from './parse-json.ts'
import { notYours, onlyReads, type Permissions } from './permissions.ts'
import { type RateLimit, rateLimited } from './rate-limit.ts'
import type { BodyReader, Sender } from './request-body.ts'
import type { RequestErrorLog } from './request-error-log.ts'

export interface HttpHandlerParts {
  readonly store: Store
  readonly clock: Clock
  readonly authentication: Authentication
  readonly permissions: Permissions
  readonly hostHeader: HostHeaderCheck
  readonly bodies: BodyReader
  readonly addresses: AddressLimits
  readonly requests: RateLimit
  readonly beats: RateLimit
  readonly speaksMcp: boolean
  readonly errors: RequestErrorLog
  readonly draining: AbortSignal
  /** A session sent a beat. */
  onBeat(): void
  /** A conversation or its tokens changed by a request. */
  onChange(conversation: string): void
  onAnswer(): void
}

/** Writes under way: with more the disk does not keep up, and waiting would only make it worse. */
const WRITING_MAX = 10_000
/** How long a refused caller may go on sending: if it were cut off at once, it would not see why. */
const LINGER_MS = 1_000
/** And how many bytes of that are let in and thrown away. */
const LINGER_BYTES = 256 * 1024

/** The conversation that a verb of the administration changed. */
const CHANGED: { readonly [N in VerbName]?: (input: Input<N>, output: Output<N>) => string } = {
  openConversation: (_, { id }) => id,
  renewConversation: ({ id }) => id,
  endConversation: ({ id }) => id,
  rotateToken: ({ session }) => conversationOf(session),
  admitWorker: (_, { conversation }) => conversation ?? '',
  issueTokens: (_, { conversation }) => conversation ?? '',
  revokeWorker: (_, { conversation }) => conversation ?? '',
  renameWorker: (_, { conversation }) => conversation ?? '',
}
const REQUEST_ID = /^[\w.:-]{1,64}$/

interface Route {
  readonly name: VerbName
  readonly verb: Verb
}

const ROUTES: ReadonlyMap<string, Route> = new Map(
  Object.entries(VERBS).map(([name, verb]) => [ROOT + name, { name: name as VerbName, verb }]),
)

/** A request and its response, with the one who made it as soon as that is known. */
interface Exchange {
  /** Names the request in the answer's error, the log and the audit. */
  readonly id: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Null for the administration, and for whoever has proved nothing yet. */
  caller: Caller | null
}

/** Translates requests into verbs of the store, and their results into responses. */
export class HttpHandler {
  readonly #parts: HttpHandlerParts
  readonly #mcp: McpDoor
  #writing = 0

  constructor(parts: HttpHandlerParts) {
    this.#parts = parts
    this.#mcp = new McpDoor({
      ...parts,
      identify: (request) => this.#identifyBearer(request),
      read: (exchange, session) => this.#read(exchange, session),
      call: (name, input, session) => this.#callAs(name, input, session),
    })
  }

  /** Answers requests that must be signed. */
  readonly onSigned = (request: IncomingMessage, response: ServerResponse): void => {
    this.#answer(request, response, (exchange) => this.#answerSigned(exchange))
  }

  /** Answers requests that came through the administration socket: whoever may open it may do everything. */
  readonly onAdmin = (request: IncomingMessage, response: ServerResponse): void => {
    this.#answer(request, response, (exchange) => this.#answerAdmin(exchange))
  }

  /** Whatever is done for the request is audited with its id, which a refusal tells the caller too. */
  #answer(request: IncomingMessage, response: ServerResponse, answer: (exchange: Exchange) => Promise<void>): void {
    const { clock, errors } = this.#parts
    const id = givenIdOf(request) ?? errors.nextId()
    const exchange: Exchange = { id, request, response, caller: null }
    withinRequest({ id, since: clock.now() }, () => answer(exchange)).catch((error) => this.#refuse(exchange, error))
  }

  async #answerMcp(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!this.#parts.speaksMcp) throw mcpIsOff()
    if (request.method !== 'POST') throw new MethodError(request.method)
    await this.#mcp.answer(request, response)
  }

  async #answerSigned(exchange: Exchange): Promise<void> {
    const { request, response } = exchange
    const { hostHeader, authentication, requests, beats } = this.#parts
    const authority = hostHeader.check(request)
    if (request.headers.origin !== undefined) allowOrigin(request.headers.origin, response)
    if (request.method === 'OPTIONS') return preflight(response)
    const url = request.url ?? ''
    const cut = url.indexOf('?')
    const path = cut < 0 ? url : url.slice(0, cut)
    if (path === MCP_PATH) return await this.#answerMcp(request, response)
    const open = ROUTES.get(path)?.verb
    if (open?.who === 'public' && request.method === 'POST') return await this.#answerPublic(exchange, open)
    // Whoever asks proves who it is by the head: only then is a body read, or anything else spent.
    const head = { method: request.method ?? '', authority, path, query: cut < 0 ? '?' : url.slice(cut) }
    const caller = await this.#identify(exchange, head)
    authentication.demandTimely(caller)
    const { name, verb } = route(request, path)
    const body = await this.#readSigned(exchange, caller)
    authentication.admit(caller)
    const { session } = caller
    const waitS = (name === 'beat' ? beats : requests).spend(session)
    if (waitS > 0) throw rateLimited(waitS)
    const output = await this.#call(name, verb, readInput(verb, body), session)
    if (name === 'beat') this.#parts.onBeat()
    this.#reply(exchange, output)
  }

  /**
   * The body that the caller signed. Whoever stands between may have changed it or how it is described; what is refused for
   * that is not signed, since the host would take it for an answer to what it had sent.
   */
  async #readSigned(exchange: Exchange, caller: Caller): Promise<Buffer> {
    exchange.caller = null
    const body = await this.#read(exchange, caller.session)
    this.#parts.authentication.demandBody(caller, body)
    exchange.caller = caller
    return body
  }

  /** What anybody may ask for is limited by where it is asked from. */
  async #answerPublic(exchange: Exchange, verb: Verb): Promise<void> {
    const { store, addresses } = this.#parts
    if (!addresses.spendUnknown(countedAddress(exchange.request.socket.remoteAddress))) throw tooManyUnknown()
    const input = readInput(verb, await this.#read(exchange, 'public'))
    this.#reply(exchange, await this.#write(verb, () => verb.call(store, input)))
  }

  /** Notes who calls, and from then on signs what is answered. */
  async #identify(exchange: Exchange, head: RequestHead): Promise<Caller> {
    const { authentication, addresses } = this.#parts
    const { request } = exchange
    const address = countedAddress(request.socket.remoteAddress)
    try {
      const mayAsk = (): boolean => addresses.mayBeUnknown(address)
      exchange.caller = await authentication.identify(head, request.headers, mayAsk)
      return exchange.caller
    } catch (error) {
      if (!(error instanceof S2Error) || error.code !== 'unauthenticated') throw error
      if (!addresses.spendUnknown(address)) throw tooManyUnknown()
      route(request, head.path) // who asks for what is not there is told that, signed or not
      throw error
    }
  }

  async #call(name: VerbName, verb: Verb, input: unknown, caller: SessionId): Promise<unknown> {
    if (verb.who === 'admin') throw adminOnly(name)
    if (verb.who === 'session' && isObserver(caller)) throw onlyReads(caller)
    if (verb.who === 'session' && verb.speaksFor?.(input, caller) !== true) throw notYours(caller)
    if (verb.who === 'session') return await this.#write(verb, () => verb.call(this.#parts.store, input))
    type Shared = Parameters<Permissions['call']>[0]
    return await this.#write(verb, () => this.#parts.permissions.call(name as Shared, input, caller))
  }

  async #identifyBearer(request: IncomingMessage): Promise<SessionId> {
    const { authentication, addresses } = this.#parts
    const address = countedAddress(request.socket.remoteAddress)
    try {
      return await authentication.identifyBearer(request.headers, () => addresses.mayBeUnknown(address))
    } catch (error) {
      if (error instanceof S2Error && error.code === 'unauthenticated' && !addresses.spendUnknown(address))
        throw tooManyUnknown()
      throw error
    }
  }

  /** A verb for the session that a bearer token is of: checked as one that it signed. */
  async #callAs<N extends VerbName>(name: N, input: Input<N>, session: SessionId): Promise<Output<N>> {
    const verb: Verb = VERBS[name]
    return (await this.#call(name, verb, check(verb.input, input), session)) as Output<N>
  }

  async #answerAdmin(exchange: Exchange): Promise<void> {
    const { request, response } = exchange
    const { store, onChange } = this.#parts
    const path = request.url ?? ''
    const streamed = path.startsWith(ROOT) && Object.hasOwn(STREAMS, path.slice(ROOT.length))
    if (streamed && request.method === 'POST') {
      const name = path.slice(ROOT.length) as StreamName
      const input = check(STREAMS[name].input, parseJson(await this.#read(exchange, null)))
      return await streamLines(name, input, response, this.#parts)
    }
    const { name, verb } = route(request, path)
    const input = readInput(verb, await this.#read(exchange, null))
    const output = await this.#write(verb, () => verb.call(store, input))
    const changed = CHANGED[name] as ((input: unknown, output: unknown) => string) | undefined
    if (changed !== undefined) onChange(changed(input, output))
    this.#reply(exchange, output)
  }

  #read({ request, response }: Pick<Exchange, 'request' | 'response'>, sender: Sender): Promise<Buffer> {
    if (request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() !== 'application/json') {
      throw new S2Error('invalid', 'the content type of the body is not application/json', {
        next: 'send content-type: application/json',
      })
    }
    if (request.headers.expect !== undefined) response.writeContinue()
    return this.#parts.bodies.read(request, sender)
  }

  /** Calls a verb; one that writes is counted while it is under way, and refused when too many are. */
  async #write(verb: Verb, call: () => Promise<unknown>): Promise<unknown> {
    if (verb.effect === 'reads') return await call()
    if (this.#writing >= WRITING_MAX) {
      throw new S2Error('unavailable', 'the bridge has more to write than it can', {
        next: 'try again with the same key',
        retryAfterS: 1,
      })
    }
    this.#writing += 1
    try {
      return await call()
    } finally {
      this.#writing -= 1
    }
  }

  get writing(): number {
    return this.#writing
  }

  /** A body that is a text leaves in one write with its head; one of bytes would be a second. */
  #reply({ response, caller }: Exchange, output: unknown): void {
    const body = JSON.stringify(output)
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      ...this.#signed(200, body, caller),
      ...(this.#parts.draining.aborted ? { connection: 'close' } : {}),
    })
    response.end(body)
    this.#parts.onAnswer()
  }

  /** The headers that prove to a caller that this is the bridge's answer to its very request. */
  #signed(status: number, body: string, caller: Caller | null) {
    if (caller === null) return {}
    const created = Math.floor(this.#parts.clock.wall() / 1000)
    return { ...signAnswer({ status, body, requestSignature: caller.claim.signature }, { ...caller, created }) }
  }

  #refuse({ id, request, response, caller }: Exchange, error: unknown): void {
    this.#parts.errors.report(
      error,
      (request.url ?? '').slice(0, 100),
      request.socket.remoteAddress ?? null,
      id,
      readClaim(request.headers)?.session ?? null,
    )
    if (response.headersSent) return void response.destroy()
    const isMethod = error instanceof MethodError
    const problem = toProblem(error, id, isMethod ? 405 : undefined)
    const body = JSON.stringify(problem)
    const whole = request.complete
    if (problem.retryAfterS !== undefined) response.setHeader('retry-after', Math.ceil(problem.retryAfterS))
    if (isMethod) response.setHeader('allow', 'POST')
    if (!whole || this.#parts.draining.aborted) response.setHeader('connection', 'close')
    response.writeHead(problem.status, {
      'content-type': PROBLEM_TYPE,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      ...this.#signed(problem.status, body, caller),
    })
    if (whole) return void response.end(body)
    response.write(body)
    this.#linger(request, response)
  }

  /** Lets a caller finish sending, unread and only for a moment, so that it reads why it was refused. */
  #linger(request: IncomingMessage, response: ServerResponse): void {
    const over = new AbortController()
    request.once('end', () => over.abort()).once('close', () => over.abort())
    let left = LINGER_BYTES
    request.on('data', (chunk: Buffer) => {
      left -= chunk.length
      if (left < 0) request.destroy()
    })
    const end = (): void => void response.end()
    this.#parts.clock.sleep(LINGER_MS, over.signal).then(end, end)
  }
}

function givenIdOf({ headers }: IncomingMessage): string | undefined {
  const given = headers['x-request-id']
  const isSound = typeof given === 'string' && REQUEST_ID.test(given) && given === redact(given) // it is kept for long
  return isSound ? given : undefined
}

class MethodError extends S2Error {
  constructor(method: string | undefined) {
    super('invalid', `${String(method).slice(0, 20)} is not supported`, { next: 'use POST' })
  }
}

function mcpIsOff(): S2Error {
  return new S2Error('not_found', `${MCP_PATH} is turned off at this bridge`, {
    next: 'set S2_MCP=yes at the bridge, or give the agent `s2 mcp` on a host of its session',
  })
}

function route(request: IncomingMessage, path: string): Route {
  const found = ROUTES.get(path)
  if (found === undefined) {
    throw new S2Error('not_found', `there is nothing at ${JSON.stringify(path.slice(0, 100))}`, {
      next: `ask ${ROOT}<verb>, or check that both sides have the same version of S2`,
    })
  }
  if (request.method !== 'POST') throw new MethodError(request.method)
  return found
}

function readInput(verb: Verb, body: Buffer): unknown {
  return check(verb.input, parseJson(body))
}

function check(schema: Verb['input'], value: unknown): unknown {
  if (checkOf(schema).Check(value)) return value
  throw new S2Error('invalid', `the body does not fit: ${schemaFaultOf(schema, value)}`, {
    next: 'send what the verb takes, and nothing else',
  })
}

function adminOnly(name: string): S2Error {
  return new S2Error('forbidden', `${name} is for the bridge's own host`, {
    next: 'ask through the administration socket run/admin.sock of its state folder',
  })
}

function allowOrigin(origin: string, response: ServerResponse): void {
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('vary', 'origin')
}

function preflight(response: ServerResponse): void {
  response
    .writeHead(204, {
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers':
        'authorization, content-type, content-digest, mcp-protocol-version, mcp-session-id, s2-reader, signature, signature-input, x-request-id',
      'access-control-max-age': '600',
    })
    .end()
}
