import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenedConversation } from '#fleet/conversation.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { freePort } from '../port.ts'
import { type Actor, type Role, type Stage, until } from './stage.ts'

/** A bridge as its users run it, with a database of its own. */
export interface BenchBridge {
  readonly actor: Actor
  readonly port: number
  readonly url: string
  readonly state: string
  readonly database: string
  openConversations(count: number): Promise<OpenedConversation[]>
  /** Asks through the administration socket. */
  ask(verb: string, input: unknown): Promise<unknown>
}

/** A bridge believes no signature from before its start: the second it began in has to pass, and one more. */
const BEGINNING_MS = 2_100

export async function startBridge(stage: Stage, role: Role, name = 'bridge'): Promise<BenchBridge> {
  const state = await stage.room(name)
  const port = await freePort()
  const actor = stage.start(role, stage.program('bridge'), {
    S2_STATE: state,
    S2_LISTEN: `127.0.0.1:${port}`,
    S2_LOG_LEVEL: 'warn',
    MALLOC_ARENA_MAX: '1', // as its unit says
    S2_RATE: '10000000', // how fast it can be, and not how fast it lets one be
  })
  await until('the bridge is ready', () => isReady(join(state, 'run', 'bridge.sock')), actor)
  await sleep(BEGINNING_MS)
  const ask = (verb: string, input: unknown): Promise<unknown> =>
    askAdmin(join(state, 'run', 'admin.sock'), verb, input)
  return {
    actor,
    port,
    url: `http://127.0.0.1:${port}`,
    state,
    database: join(state, 'bridge.db'),
    async openConversations(count) {
      const opened: OpenedConversation[] = []
      while (opened.length < count) {
        const first = opened.length
        const batch = Array.from({ length: Math.min(100, count - first) }, (_, index) => openOne(ask, first + index))
        opened.push(...(await Promise.all(batch)))
      }
      return opened
    },
    ask,
  }
}

/** Both ends of a conversation, with what lets them speak. */
export function sessionsOf(conversations: readonly OpenedConversation[]): { session: SessionId; token: string }[] {
  return conversations.flatMap(({ id, tokens }) =>
    (['a', 'b'] as const).map((side) => ({ session: `${id}/${side}` as const, token: tokens[side] })),
  )
}

export async function isReady(socketPath: string): Promise<boolean> {
  try {
    return (await call(socketPath, 'GET', '/readyz')).status === 200
  } catch {
    return false // not even there yet
  }
}

async function openOne(ask: BenchBridge['ask'], index: number): Promise<OpenedConversation> {
  const wanted = {
    roles: { a: 'orchestrator', b: 'worker' },
    agents: { a: 'orchestrator', b: `bench-${index}` },
    lifetimeMs: 3 * 3_600_000,
  }
  return (await ask('openConversation', { wanted })) as OpenedConversation
}

async function askAdmin(socketPath: string, verb: string, input: unknown): Promise<unknown> {
  const { status, text } = await call(socketPath, 'POST', `/v1/${verb}`, JSON.stringify(input))
  if (status !== 200) throw new Error(`${verb}: ${status} ${text}`)
  return JSON.parse(text)
}

function call(
  socketPath: string,
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number; text: string }> {
  const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': body.length }
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers, agent: false }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode ?? 0, text })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
