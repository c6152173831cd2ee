import { join } from 'node:path'
import { WebSocket } from 'ws'
import { parseObject } from '#spool/plain-file.ts'
import type { ClientSession } from '../client-session.ts'
import { type ClientFields, objectOf, shortWord } from '../whole-fields.ts'
import { clientEnvironment, clientFolder } from './client-environment.ts'
import { whyNoOwnSocket } from './own-socket.ts'

/** How long one answer of the daemon may take, milliseconds. */
const ANSWER_MS = 3_000
const MESSAGE_MAX = 4 * 1024 * 1024

/** Codex's home folder of a session; null where its process has ended and nobody knows. */
export function codexHome(session: ClientSession): string | null {
  const client = clientEnvironment(session)
  return client === null ? null : clientFolder(client.env, 'CODEX_HOME', '.codex')
}

/** The socket on which the daemon that the terminals of Codex share listens. */
function daemonSocket(home: string): string {
  return join(home, 'app-server-control', 'app-server-control.sock')
}

/** Why no daemon of Codex holds the thread of a session; null where one does. */
export async function whyThreadNotHeld(session: ClientSession, signal: AbortSignal): Promise<string | null> {
  if (session.client !== 'codex') return 'only Codex has such a daemon'
  const home = codexHome(session)
  if (home === null) return 'the process of the session has ended, or is no client of this user'
  const why = whyNoOwnSocket(daemonSocket(home))
  if (why !== null) return `no daemon of Codex runs: ${why}`
  try {
    using daemon = await openDaemon(home, signal)
    const loaded = await daemon.ask('thread/loaded/list', {})
    const threads: unknown = (loaded as { data?: unknown } | null)?.data
    return Array.isArray(threads) && threads.includes(session.id)
      ? null
      : 'the daemon of Codex does not hold its thread'
  } catch (error) {
    return `the daemon of Codex does not answer: ${(error as Error).message}`
  }
}

export interface CodexDaemon extends Disposable {
  /** Rejects with what the daemon says against it. */
  ask(method: string, params: object): Promise<unknown>
}

/** Speaks with the daemon (JSON-RPC over a WebSocket on a unix socket) until disposed. */
export async function openDaemon(home: string, signal: AbortSignal): Promise<CodexDaemon> {
  const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)])
  const link = new WebSocket(`ws+unix:${daemonSocket(home)}:/`, { perMessageDeflate: false, maxPayload: MESSAGE_MAX })
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  const end = (error: Error): void => {
    for (const each of waiting.values()) each.reject(error)
    waiting.clear()
    link.terminate()
  }
  until.addEventListener('abort', () => end(new Error('it took too long')), { once: true })
  link.on('message', (data) => take(String(data), waiting))
  link.on('error', end)
  link.on('close', () => end(new Error('it hung up')))
  let last = 0
  const ask = (method: string, params: object): Promise<unknown> => {
    last += 1
    const answer = Promise.withResolvers<unknown>()
    waiting.set(last, answer)
    link.send(JSON.stringify({ id: last, method, params }))
    return answer.promise
  }
  const opened = Promise.withResolvers<unknown>()
  waiting.set(0, opened)
  link.on('open', () => opened.resolve(null))
  await opened.promise
  const clientInfo = { name: 's2', title: 'S2', version: '1' }
  await ask('initialize', { clientInfo, capabilities: { experimentalApi: true } })
  link.send(JSON.stringify({ method: 'initialized' }))
  return { ask, [Symbol.dispose]: () => link.terminate() }
}

function take(text: string, waiting: Map<number, PromiseWithResolvers<unknown>>): void {
  const { id, method, result, error } = answerIn(text)
  if (typeof id !== 'number' || method !== undefined) return // what it tells and asks of its own
  const asked = waiting.get(id)
  waiting.delete(id)
  if (error === undefined || error === null) asked?.resolve(result)
  else asked?.reject(new Error(shortWord(objectOf(error).message) ?? 'it refused'))
}

/** Nothing of a text that is no answer. */
function answerIn(text: string): ClientFields {
  try {
    return parseObject(text)
  } catch {
    return {}
  }
}
