import type { ServerResponse } from 'node:http'
import type { SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { toProblem } from '#store/remote/problem-details.ts'
import type { StreamName } from '#store/remote/wire-schema.ts'
import type { Store } from '#store/store.ts'
import type { RequestErrorLog } from './request-error-log.ts'

/** An empty line is sent this often, so that a listener can tell a quiet bridge from a dead one. */
const KEEPALIVE_MS = 10_000

export interface StreamParts {
  readonly store: Store
  readonly clock: Clock
  readonly draining: AbortSignal
  readonly errors: RequestErrorLog
}

/** Sends the items of a store's stream, one a line, no faster than they are read, until the listener leaves. */
export async function streamLines(
  name: StreamName,
  input: unknown,
  response: ServerResponse,
  parts: StreamParts,
): Promise<void> {
  const left = new AbortController()
  response.once('close', () => left.abort())
  const signal = AbortSignal.any([left.signal, parts.draining])
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store', connection: 'close' })
  response.flushHeaders()
  const keepalives = sendKeepalives(response, parts.clock, signal)
  try {
    for await (const item of items(name, input, parts.store, signal)) {
      if (!response.write(`${JSON.stringify(item)}\n`)) await drained(response, signal)
      if (signal.aborted) break
    }
  } catch (error) {
    const id = parts.errors.report(error, name, null)
    response.write(`${JSON.stringify(toProblem(error, id))}\n`)
  } finally {
    left.abort()
    await keepalives
    response.end()
  }
}

function items(name: StreamName, input: unknown, store: Store, signal: AbortSignal): AsyncIterable<unknown> {
  if (name === 'credentialHints') return store.credentialHints(signal)
  if (name === 'traffic') return store.traffic((input as { after: number }).after, signal)
  const { reader, after } = input as { reader: SessionId; after: number }
  return singly(store.mail(reader, after, signal))
}

async function* singly<T>(batches: AsyncIterable<readonly T[]>): AsyncGenerator<T> {
  for await (const batch of batches) yield* batch
}

async function sendKeepalives(response: ServerResponse, clock: Clock, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(KEEPALIVE_MS, signal).catch(() => undefined)
    if (!signal.aborted && !response.writableNeedDrain) response.write('\n')
  }
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off('drain', settle)
      signal.removeEventListener('abort', settle)
      resolve()
    }
    response.once('drain', settle)
    signal.addEventListener('abort', settle, { once: true })
    if (signal.aborted) settle()
  })
}
