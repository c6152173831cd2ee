import type { IncomingMessage, ServerResponse } from 'node:http'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { conversationOf, type SessionId } from '#fleet/session-id.ts'
import { readClaim } from '#fleet/signature.ts'
import type { Clock } from '#runtime/clock.ts'
import { PROBLEM_TYPE, toProblem } from '#store/remote/problem-details.ts'
import {
  checkOf,
  type Input,
  type Output,
  ROOT,
  STREAMS,
  type StreamName,
  schemaFaultOf,
  VERBS,
  type Verb,
  type VerbName,
} from '#store/remote/wire-schema.ts'
import { withinRequest } from '#store/request-context.ts'
import type { Store } from '#store/store.ts'
import type { Authentication } from './authentication.ts'
import type { HostHeaderCheck } from './host-header-check.ts'
import { streamLines } from './ndjson-stream.ts'
import { parseJson } from './parse-json.ts'
import type { Permissions } from './permissions.ts'
import type { RateLimit } from './rate-limit.ts'
import type { BodyReader } from './request-body.ts'
import type { RequestErrorLog } from './request-error-log.ts'

export interface HttpHandlerParts {
  readonly store: Store
  readonly clock: Clock
  readonly authentication: Authentication
  readonly permissions: Permissions
  readonly hostHeader: HostHeaderCheck
  readonly bodies: BodyReader
  readonly requests: RateLimit
  readonly beats: RateLimit
  /** For those who show no identity, by address. */
  readonly strangers: RateLimit
  readonly errors: RequestErrorLog
  readonly draining: AbortSignal
  /** A session sent a beat. */
  onBeat(session: SessionId): void
  /** A conversation or its tokens changed by a request. */
  onChange(conversation: string): void
  onAnswer(): void
}

/** Writes under way: with more the disk does not keep up, and waiting would only make it worse. */
const WRITING_MAX = 10_000
/** How long a refused caller may go on sending: if it were cut off at once, it would not see why. */
const LINGER_MS = 1_000

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

/** Translates requests into verbs of the store, and their results into responses. */
export class HttpHandler {
  readonly #parts: HttpHandlerParts
  #writing = 0

  constructor(parts: HttpHandlerParts) {
    this.#parts = parts
  }

  /** Answers requests that must be signed. */
  readonly onSigned = (request: IncomingMessage, response: ServerResponse): void => {
    this.#answer(request, response, () => this.#answerSigned(request, response))
  }

  /** Answers requests that came through the administration socket: whoever may open it may do everything. */
  readonly onAdmin = (request: IncomingMessage, response: ServerResponse): void => {
    this.#answer(request, response, () => this.#answerAdmin(request, response))
  }

  /** Whatever is done for the request is audited with its id, which a refusal tells the caller too. */
  #answer(request: IncomingMessage, response: ServerResponse, answer: () => Promise<void>): void {
    const { clock, errors } = this.#parts
    const id = givenIdOf(request) ?? errors.nextId()
    withinRequest({ id, since: clock.now() }, answer).catch((error) => this.#refuse(request, response, error, id))
  }

  async #answerSigned(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { hostHeader, bodies, authentication, requests, beats } = this.#parts
    hostHeader.check(request)
    if (request.headers.origin !== undefined) allowOrigin(request.headers.origin, response)
    if (request.method === 'OPTIONS') return preflight(response)
    const url = request.url ?? ''
    const cut = url.indexOf('?')
    const path = cut < 0 ? url : url.slice(0, cut)
    const { name, verb } = route(request, path)
    const body = await this.#read(request, response, bodies)
    if (verb.who === 'public') return await this.#answerPublic(verb, request, response, body)
    const signable = { method: 'POST', path, query: cut < 0 ? '?' : url.slice(cut), body }
    const caller = await authentication.identify(signable, request.headers)
    const waitS = (name === 'beat' ? beats : requests).spend(caller)
    if (waitS > 0) throw rateLimited(waitS)
    const input = readInput(verb, body)
    if (verb.who === 'admin') throw adminOnly(name)
    if (verb.who === 'session' && verb.speaksFor?.(input, caller) !== true) throw notYours(caller)
    const output =
      verb.who === 'participant'
        ? await this.#write(verb, () =>
            this.#parts.permissions.call(name as Parameters<Permissions['call']>[0], input, caller),
          )
        : await this.#write(verb, () => verb.call(this.#parts.store, input))
    if (name === 'beat') this.#parts.onBeat(caller)
    this.#reply(response, output)
  }

  /** What anybody may ask for is limited by where it is asked from. */
  async #answerPublic(verb: Verb, request: IncomingMessage, response: ServerResponse, body: Buffer): Promise<void> {
    const { store, strangers } = this.#parts
    const waitS = strangers.spend(request.socket.remoteAddress ?? '')
    if (waitS > 0) throw rateLimited(waitS, 'this address')
    const input = readInput(verb, body)
    this.#reply(response, await this.#write(verb, () => verb.call(store, input)))
  }

  async #answerAdmin(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { store, bodies, onChange } = this.#parts
    const path = request.url ?? ''
    const streamed = path.startsWith(ROOT) && Object.hasOwn(STREAMS, path.slice(ROOT.length))
    if (streamed && request.method === 'POST') {
      const name = path.slice(ROOT.length) as StreamName
      const input = check(STREAMS[name].input, parseJson(await this.#read(request, response, bodies)))
      return await streamLines(name, input, response, this.#parts)
    }
    const { name, verb } = route(request, path)
    const input = readInput(verb, await this.#read(request, response, bodies))
    const output = await this.#write(verb, () => verb.call(store, input))
    const changed = CHANGED[name] as ((input: unknown, output: unknown) => string) | undefined
    if (changed !== undefined) onChange(changed(input, output))
    this.#reply(response, output)
  }

  #read(request: IncomingMessage, response: ServerResponse, bodies: BodyReader): Promise<Buffer> {
    if (request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() !== 'application/json') {
      throw new S2Error('invalid', 'the content type of the body is not application/json', {
        next: 'send content-type: application/json',
      })
    }
    if (request.headers.expect !== undefined) response.writeContinue()
    return bodies.read(request)
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

  #reply(response: ServerResponse, output: unknown): void {
    const text = JSON.stringify(output)
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
      ...(this.#parts.draining.aborted ? { connection: 'close' } : {}),
    })
    response.end(text)
    this.#parts.onAnswer()
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown, id: string): void {
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
    const text = JSON.stringify(problem)
    const whole = request.complete
    if (problem.retryAfterS !== undefined) response.setHeader('retry-after', Math.ceil(problem.retryAfterS))
    if (isMethod) response.setHeader('allow', 'POST')
    if (!whole || this.#parts.draining.aborted) response.setHeader('connection', 'close')
    response.writeHead(problem.status, {
      'content-type': PROBLEM_TYPE,
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
    })
    if (whole) return void response.end(text)
    response.write(text)
    this.#linger(request, response)
  }

  /** Lets a caller finish sending, unread and only for a moment, so that it reads why it was refused. */
  #linger(request: IncomingMessage, response: ServerResponse): void {
    const over = new AbortController()
    request.once('end', () => over.abort()).once('close', () => over.abort())
    request.resume()
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

function rateLimited(waitS: number, who = 'this session'): S2Error {
  return new S2Error('rate_limited', `${who} has made too many requests`, {
    next: 'ask less often, or raise S2_RATE of the bridge',
    retryAfterS: waitS,
  })
}

function adminOnly(name: string): S2Error {
  return new S2Error('forbidden', `${name} is for the bridge's own host`, {
    next: 'ask through the administration socket run/admin.sock of its state folder',
  })
}

function notYours(caller: SessionId): S2Error {
  return new S2Error('forbidden', `${caller} may speak only for itself`, {
    next: 'sign with the credential of the session that is meant',
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
      'access-control-allow-headers': 'content-type, content-digest, signature, signature-input, x-request-id',
      'access-control-max-age': '600',
    })
    .end()
}
