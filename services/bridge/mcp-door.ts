import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { SessionId } from '#fleet/session-id.ts'
import { faultOf, isRecord, RPC, type RpcAnswer } from '#mcp/json-rpc.ts'
import { BATCH_MAX, McpServer } from '#mcp/mcp-server.ts'
import { MODERN, type Revision, requestedRevision, revisionNamed } from '#mcp/revisions.ts'
import { callTool, INSTRUCTIONS, SHOWN_TOOLS } from '#mcp/tools.ts'
import { StoreMember } from '#member/store-member.ts'
import type { Clock } from '#runtime/clock.ts'
import { VERSION } from '#runtime/version.ts'
import { parseJson } from './parse-json.ts'
import { type RateLimit, rateLimited } from './rate-limit.ts'
import { type CallAs, sessionStore } from './session-store.ts'

/** Where clients of the Model Context Protocol speak to a bridge (Streamable HTTP, without sessions of its own). */
export const MCP_PATH = '/mcp'
/** The header by which a client says which of its lives asks; `s2 mcp --headers` prints one. */
const READER_HEADER = 's2-reader'
/** The header that the protocol has for that until 2025-11-25: the bridge makes it up at the handshake, and keeps nothing of it. */
const SESSION_HEADER = 'mcp-session-id'
const READER = /^[A-Za-z0-9_.:-]{1,150}$/
/** What a client that names no revision is taken to speak, as the specification says. */
const UNNAMED: Revision = '2025-03-26'

export interface McpDoorParts {
  readonly clock: Clock
  readonly requests: RateLimit
  readonly call: CallAs
  /** Proves who asks by the head of a request. Throws `unauthenticated`. */
  identify(request: IncomingMessage): Promise<SessionId>
  read(
    exchange: { readonly request: IncomingMessage; readonly response: ServerResponse },
    session: SessionId,
  ): Promise<Buffer>
  onAnswer(): void
}

/**
 * The tools of the fleet for clients that reach the bridge and no program of S2 beside them. Each POST is one message or batch,
 * answered as JSON; nothing is kept between two, so that any bridge may answer the next.
 */
export class McpDoor {
  readonly #parts: McpDoorParts

  constructor(parts: McpDoorParts) {
    this.#parts = parts
  }

  /** Answers a POST. Throws what keeps it from being read or answered. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const session = await this.#identify(request, response)
    const body = await this.#parts.read({ request, response }, session)
    const parsed = messageIn(body)
    if (parsed === null)
      return this.#reply(response, 400, faultOf(null, { code: RPC.parse, message: 'the body is no JSON' }))
    const { message } = parsed
    const waitS = this.#parts.requests.spend(session, costOf(message))
    if (waitS > 0) throw rateLimited(waitS)
    const named = request.headers['mcp-protocol-version']
    const fault = headerFault(named, message)
    if (fault !== null) return this.#reply(response, 400, fault)
    const reader = readerOf(request)
    const answer = await this.#serverFor(session, reader, revisionNamed(named) ?? UNNAMED).answer(message)
    if (beginsSession(message, answer)) response.setHeader(SESSION_HEADER, randomBytes(16).toString('hex'))
    if (answer === null) return void response.writeHead(202, { 'content-length': 0 }).end()
    this.#reply(response, statusOf(answer, message), answer)
  }

  async #identify(request: IncomingMessage, response: ServerResponse): Promise<SessionId> {
    try {
      return await this.#parts.identify(request)
    } catch (error) {
      response.setHeader('www-authenticate', 'Bearer realm="s2"')
      throw error
    }
  }

  #serverFor(session: SessionId, reader: string | null, revision: Revision): McpServer {
    const { call, clock } = this.#parts
    const member = new StoreMember({ session, reader, store: sessionStore(session, call), clock })
    return new McpServer(
      {
        version: VERSION,
        instructions: INSTRUCTIONS,
        tools: SHOWN_TOOLS,
        call: (name, input) => callTool(async () => member, name, input),
      },
      revision,
    )
  }

  #reply(response: ServerResponse, status: number, answer: object): void {
    const body = JSON.stringify(answer)
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
    })
    response.end(body)
    this.#parts.onAnswer()
  }
}

/**
 * Which life of the session's agent asks: one that began after another died must not ack, by its first check, what the other one
 * had in hand. What is no such word counts for nothing.
 */
function readerOf({ headers }: IncomingMessage): string | null {
  const named = headers[READER_HEADER] ?? headers[SESSION_HEADER]
  return typeof named === 'string' && READER.test(named) ? named : null
}

/** A batch counts for each message in it; one that is refused for its length is one request. */
function costOf(message: unknown): number {
  return Array.isArray(message) && message.length > 0 && message.length <= BATCH_MAX ? message.length : 1
}

function beginsSession(message: unknown, answer: RpcAnswer | readonly RpcAnswer[] | null): boolean {
  const isHandshake = isRecord(message) && message.method === 'initialize'
  return isHandshake && answer !== null && !Array.isArray(answer) && 'result' in answer
}

function messageIn(body: Buffer): { readonly message: unknown } | null {
  try {
    return { message: parseJson(body) }
  } catch {
    return null
  }
}

/** What is wrong with the revision that the header names; null where nothing is. */
function headerFault(named: string | string[] | undefined, message: unknown): RpcAnswer | null {
  const id = null
  if (named === undefined) return null
  const revision = revisionNamed(named)
  if (revision === null)
    return faultOf(id, { code: RPC.request, message: 'MCP-Protocol-Version names a revision that is not spoken' })
  const asked = isRecord(message) && isRecord(message.params) ? requestedRevision(message.params) : null
  if (asked !== null && asked.name !== named)
    return faultOf(id, { code: RPC.headerMismatch, message: 'MCP-Protocol-Version and _meta name two revisions' })
  if (revision === MODERN && asked === null && isRecord(message) && 'id' in message)
    return faultOf(id, { code: RPC.params, message: 'a request of 2026-07-28 names its revision in _meta' })
  return null
}

/** Since 2026-07-28 the status says what the protocol refused; before it was 200 for all answers. */
function statusOf(answer: RpcAnswer | readonly RpcAnswer[], message: unknown): number {
  const asked = isRecord(message) && isRecord(message.params) ? requestedRevision(message.params) : null
  if (asked === null || Array.isArray(answer) || !('error' in answer)) return 200
  const { code } = answer.error
  if (code === RPC.method) return 404
  return code === RPC.internal ? 500 : 400
}
