import { request } from 'node:http'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
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

/** Where the supervisor of a local fleet hears commands. */
export function controlSocket(state: string): string {
  return join(state, 'run', 'up.sock')
}

const ANSWER_MS = 15_000

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
