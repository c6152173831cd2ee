import {
  faultOf,
  isId,
  isRecord,
  type RequestId,
  RPC,
  type RpcAnswer,
  RpcError,
  type RpcNotification,
  type RpcRequest,
  readIncoming,
  resultOf,
} from './json-rpc.ts'
import {
  HANDSHAKE_REVISIONS,
  isModern,
  MODERN,
  NEWEST_HANDSHAKE,
  REVISION_FIELD,
  REVISIONS,
  type Revision,
  requestedRevision,
  takesBatches,
} from './revisions.ts'

/** What a tool answered: the text for the model, and whether it says what went wrong. */
export interface ToolAnswer {
  readonly text: string
  readonly isError: boolean
}

type Fields = Readonly<Record<string, unknown>>

export interface McpServerParts {
  readonly version: string
  readonly instructions: string
  /** The tools as `tools/list` shows them. */
  readonly tools: readonly { readonly name: string }[]
  /** Calls a tool of that list. `meta`: what the client says beside the arguments. Never rejects. */
  call(name: string, input: Fields, signal: AbortSignal, meta: Fields): Promise<ToolAnswer>
}

/** Calls under way of one connection: more are refused, so that a client in a loop takes no memory without end. */
const CALLS_MAX = 64
/** Messages of one batch. */
export const BATCH_MAX = 100
/** How long a list of tools may be kept by a client, milliseconds: it changes only with the program. */
const LIST_TTL_MS = 300_000

/**
 * The Model Context Protocol for one connection, whatever carries its messages: revisions with a handshake, and 2026-07-28,
 * where each request says its own. Where a transport keeps no state, one is made for each message.
 */
export class McpServer {
  readonly #parts: McpServerParts
  #revision: Revision | null
  readonly #calls = new Map<RequestId, AbortController>()

  /** `revision`: what a transport says that was agreed upon; null: nothing yet. */
  constructor(parts: McpServerParts, revision: Revision | null = null) {
    this.#parts = parts
    this.#revision = revision
  }

  /** The answer to a message; null where nothing is to be said. Never rejects. */
  async answer(message: unknown): Promise<RpcAnswer | readonly RpcAnswer[] | null> {
    if (!Array.isArray(message)) return await this.#answerOne(message)
    if (!takesBatches(this.#revision)) return faultOf(null, { code: RPC.request, message: 'batches are not supported' })
    if (message.length === 0 || message.length > BATCH_MAX)
      return faultOf(null, { code: RPC.request, message: `a batch has 1 to ${BATCH_MAX} messages` })
    const answers = await Promise.all(message.map((each) => this.#answerOne(each)))
    const said = answers.filter((answer) => answer !== null)
    return said.length === 0 ? null : said
  }

  /** Ends all calls: the connection is gone. */
  abort(): void {
    for (const call of this.#calls.values()) call.abort()
  }

  async #answerOne(message: unknown): Promise<RpcAnswer | null> {
    const incoming = readIncoming(message)
    if (incoming.is === 'other') return null
    if (incoming.is === 'bad') return faultOf(incoming.id, { code: RPC.request, message: incoming.why })
    if (incoming.is === 'notification') return this.#note(incoming.notification)
    const { id } = incoming.request
    try {
      const result = await this.#dispatch(incoming.request)
      return result === null ? null : resultOf(id, result)
    } catch (error) {
      if (error instanceof RpcError) return faultOf(id, error.fault)
      return faultOf(id, { code: RPC.internal, message: 'the server met an error of its own' })
    }
  }

  #note({ method, params }: RpcNotification): null {
    const { requestId } = params
    if (method === 'notifications/cancelled' && isId(requestId)) this.#calls.get(requestId)?.abort()
    return null
  }

  /** Null: the request was cancelled, and is not answered. */
  async #dispatch(request: RpcRequest): Promise<object | null> {
    const revision = this.#revisionOf(request)
    switch (request.method) {
      case 'initialize':
        return this.#initialize(request)
      case 'server/discover':
        return this.#complete(this.#discover(), MODERN)
      case 'ping':
        return this.#complete({}, revision)
      case 'tools/list':
        return this.#complete({ tools: this.#parts.tools, ...cacheable(revision) }, revision)
      case 'tools/call': {
        const result = await this.#call(request)
        return result === null ? null : this.#complete(result, revision)
      }
      default:
        throw new RpcError(RPC.method, `there is no method ${JSON.stringify(request.method.slice(0, 100))}`)
    }
  }

  /** The revision that a request is of. Throws where it names one that is not spoken. */
  #revisionOf({ method, params }: RpcRequest): Revision | null {
    const asked = requestedRevision(params)
    if (asked === null && method === 'server/discover')
      throw new RpcError(RPC.params, `server/discover names its revision in _meta: ${REVISION_FIELD}`)
    if (asked === null || method === 'initialize') return this.#revision
    const { known, name, hasCapabilities } = asked
    if (known === null || !isModern(known)) {
      throw new RpcError(RPC.unsupportedRevision, `revision ${JSON.stringify(name.slice(0, 40))} is not spoken`, {
        supported: REVISIONS,
        requested: name,
      })
    }
    if (!hasCapabilities)
      throw new RpcError(RPC.params, '_meta lacks io.modelcontextprotocol/clientCapabilities, an object')
    return known
  }

  #initialize({ params }: RpcRequest): object {
    const { protocolVersion } = params
    if (typeof protocolVersion !== 'string') throw new RpcError(RPC.params, 'initialize names its protocolVersion')
    const asked = HANDSHAKE_REVISIONS.find((each) => each === protocolVersion)
    this.#revision = asked ?? NEWEST_HANDSHAKE
    return {
      protocolVersion: this.#revision,
      capabilities: { tools: {} },
      serverInfo: this.#serverInfo(),
      instructions: this.#parts.instructions,
    }
  }

  #discover(): object {
    return {
      supportedVersions: REVISIONS,
      capabilities: { tools: {} },
      serverInfo: this.#serverInfo(),
      instructions: this.#parts.instructions,
      ...cacheable(MODERN),
    }
  }

  #serverInfo(): { readonly name: string; readonly title: string; readonly version: string } {
    return { name: 's2', title: 'S2, the fleet of agents', version: this.#parts.version }
  }

  /** Since 2026-07-28 a result says that it is whole, and who gives it. */
  #complete(result: object, revision: Revision | null): object {
    if (revision === null || !isModern(revision)) return result
    const _meta = { 'io.modelcontextprotocol/serverInfo': this.#serverInfo() }
    return { resultType: 'complete', ...result, _meta }
  }

  async #call({ id, params }: RpcRequest): Promise<object | null> {
    const { name, arguments: input = {}, _meta } = params
    if (typeof name !== 'string' || !this.#parts.tools.some((tool) => tool.name === name))
      throw new RpcError(
        RPC.params,
        `there is no tool ${JSON.stringify(String(name).slice(0, 100))}: tools/list names all`,
      )
    if (!isRecord(input)) throw new RpcError(RPC.params, 'arguments must be an object')
    if (this.#calls.size >= CALLS_MAX)
      throw new RpcError(RPC.internal, 'too many calls at once: wait for their answers')
    if (this.#calls.has(id)) throw new RpcError(RPC.request, 'a call with this id is under way')
    const calling = new AbortController()
    this.#calls.set(id, calling)
    try {
      const { text, isError } = await this.#parts.call(name, input, calling.signal, isRecord(_meta) ? _meta : {})
      return calling.signal.aborted ? null : { content: [{ type: 'text', text }], isError }
    } finally {
      this.#calls.delete(id)
    }
  }
}

function cacheable(revision: Revision | null): object {
  return revision !== null && isModern(revision) ? { ttlMs: LIST_TTL_MS, cacheScope: 'private' } : {}
}
