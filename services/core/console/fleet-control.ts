import { createServer, request } from 'node:http'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { closest } from '#runtime/config.ts'
import { listen } from '#runtime/health.ts'
import { socketPath } from '#runtime/socket-path.ts'

/** What `s2 up` says of an agent's programs. */
export interface AgentProcesses {
  readonly agent: string
  readonly role: string
  readonly state: 'running' | 'frozen' | 'killed'
  readonly programs: readonly {
    readonly program: string
    readonly state: string
    readonly pid: number | null
    readonly restarts: number
  }[]
}

export const AGENT_ACTIONS = ['freeze', 'thaw', 'kill'] as const
export type AgentAction = (typeof AGENT_ACTIONS)[number]

/** A local fleet, as others on this machine may command it. */
export interface ControlledFleet {
  members(): readonly AgentProcesses[]
  /** Throws `not_found`. Answers how many processes it concerned. */
  act(act: AgentAction, agent: string): Promise<number>
}

function controlSocket(state: string): string {
  return join(state, 'run', 'up.sock')
}

const BODY_MAX = 10_000
const ANSWER_MS = 15_000

/** Lets a fleet be commanded over a unix socket of its state folder until disposed. Throws ConfigError when it is in use. */
export async function serveControl(fleet: ControlledFleet, state: string): Promise<AsyncDisposable> {
  const server = createServer((asked, response) => {
    const answer = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
    }
    const act = AGENT_ACTIONS.find((each) => asked.url === `/${each}`)
    if (asked.method === 'GET' && asked.url === '/members') return answer(200, fleet.members())
    if (asked.method !== 'POST' || act === undefined) return answer(404, { message: 'no such command' })
    let body = ''
    asked.setEncoding('utf8')
    asked.on('data', (chunk: string) => {
      body += chunk
      if (body.length > BODY_MAX) asked.destroy()
    })
    asked.on('end', () => {
      commanded(fleet, act, body).then(
        (processes) => answer(200, { processes }),
        (error: unknown) => answer(400, failureBody(error)),
      )
    })
  })
  await listen(server, { path: controlSocket(state) })
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function commanded(fleet: ControlledFleet, act: AgentAction, body: string): Promise<number> {
  const { agent } = JSON.parse(body) as { agent?: unknown }
  if (typeof agent !== 'string') throw new S2Error('invalid', 'no agent was named')
  return await fleet.act(act, agent)
}

function failureBody(error: unknown): { code: string; message: string; next: string | undefined } {
  if (error instanceof S2Error) return { code: error.code, message: error.message, next: error.next }
  return { code: 'internal', message: (error as Error).message, next: undefined }
}

/** The agent of that name, or the only one of that role. Throws `not_found` with the nearest name. */
export function findAgent<M extends { readonly agent: string; readonly role: string }>(
  members: readonly M[],
  name: string,
): M {
  const named = members.find(({ agent }) => agent === name)
  const ofRole = members.filter(({ role }) => role === name)
  const found = named ?? (ofRole.length === 1 ? ofRole[0] : undefined)
  if (found !== undefined) return found
  const near = closest(
    name,
    members.flatMap(({ agent, role }) => [agent, role]),
  )
  throw new S2Error('not_found', `this fleet has no agent ${JSON.stringify(name)}`, {
    next: near === undefined ? `it has ${members.map(({ agent }) => agent).join(', ')}` : `did you mean ${near}?`,
  })
}

/** Asks the `s2 up` that serves a state folder; null when none does. Throws what it refuses with. */
export async function askControl(
  state: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<unknown> {
  let answer: { status: number; body: string }
  try {
    answer = await exchange(controlSocket(state), method, path, body)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null
    throw new S2Error('unavailable', `s2 up does not answer at ${controlSocket(state)}: ${(error as Error).message}`)
  }
  const value = JSON.parse(answer.body) as { code?: string; message?: string; next?: string }
  if (answer.status === 200) return value
  throw new S2Error(
    value.code === 'not_found' ? 'not_found' : 'internal',
    value.message ?? 's2 up refused',
    value.next === undefined ? {} : { next: value.next },
  )
}

async function exchange(
  socket: string,
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; body: string }> {
  using door = socketPath(socket)
  return await new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(ANSWER_MS)
    const asked = request({ socketPath: door.path, method, path, signal }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end(body === undefined ? '' : JSON.stringify(body))
  })
}
