import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { CLIENTS, type Client } from '#agents/client-session.ts'
import type { HookDoor } from '#agents/hook-door.ts'
import { HOOK_INPUT_MAX, type HookEvent, readHookEvent } from '#agents/hook-event.ts'
import { listen } from '#runtime/health.ts'
import { isSameSecret } from '#runtime/same-secret.ts'
import { HookConnections } from './hook-connections.ts'

/** Answers an event with what its client is told; empty for nothing. */
export type HookListener = (event: HookEvent) => Promise<string>

/** Twice what the system lets wait to be accepted (511): a hook speaks at once, and is heard before so many come after it. */
const CONNECTIONS_MAX = 1_024
/** Within this a request is there, from its first byte or from the connection on; it is looked at so often. */
const REQUEST_WITHIN_MS = 5_000
const LOOK_MS = 1_000
/** Bytes that are read of a body, most of which are forgotten: what a tool answered may be any length. */
const BODY_MAX = 32 * 1024 * 1024

/** Answers hooks on the loopback address until disposed. Throws ConfigError where it cannot listen. */
export async function serveHooks(door: HookDoor, listener: HookListener): Promise<AsyncDisposable> {
  const connections = new HookConnections(CONNECTIONS_MAX)
  const bounds = { requestTimeout: REQUEST_WITHIN_MS, headersTimeout: REQUEST_WITHIN_MS }
  const server = createServer({ ...bounds, connectionsCheckingInterval: LOOK_MS }, (request, response) => {
    answer(request, response, { door, listener, connections }).catch(() => end(response, 500))
  })
  server.on('connection', (socket) => connections.add(socket))
  await listen(server, { host: '127.0.0.1', port: door.port })
  server.unref()
  return { [Symbol.asyncDispose]: () => closed(server) }
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

interface ServerParts {
  readonly door: HookDoor
  readonly listener: HookListener
  readonly connections: HookConnections
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { door, listener, connections }: ServerParts,
): Promise<void> {
  const refusal = refusalOf(request, door)
  if (refusal !== null) return refuse(response, refusal)
  connections.begin(request.socket)
  response.once('close', () => connections.end(request.socket))
  const client = CLIENTS.find((each) => request.url === `/hook/${each}`)
  if (client === undefined) return end(response, 404)
  const event = await eventIn(request, client)
  if (event === null) return end(response, 400)
  end(response, 200, await listener(event))
}

/** A page in a browser sends an Origin, or by a name of its own another Host; neither is a client on this machine. */
function refusalOf({ method, headers }: IncomingMessage, { port, secret }: HookDoor): number | null {
  if (headers.host !== `127.0.0.1:${port}` && headers.host !== `localhost:${port}`) return 403
  if (headers.origin !== undefined) return 403
  if (!isSameSecret(headers.authorization ?? '', `Bearer ${secret}`)) return 401
  return method === 'POST' ? null : 405
}

async function eventIn(request: IncomingMessage, client: Client): Promise<HookEvent | null> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (size < HOOK_INPUT_MAX) chunks.push(chunk)
    size += chunk.length
    if (size > BODY_MAX) return null
  }
  return readHookEvent(client, null, Buffer.concat(chunks).subarray(0, HOOK_INPUT_MAX).toString('utf8'))
}

/** What else comes by that connection is not waited for. */
function refuse(response: ServerResponse, status: number): void {
  response.setHeader('connection', 'close')
  end(response, status)
}

/** An answer that says nothing is an empty object: a client takes another text for what the model is to read. */
function end(response: ServerResponse, status: number, text = ''): void {
  if (response.writableEnded || response.destroyed) return
  response.writeHead(status, { 'content-type': 'application/json' }).end(text === '' ? '{}' : text)
}
