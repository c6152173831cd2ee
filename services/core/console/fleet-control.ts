import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { type HttpAnswer, httpExchange } from '#runtime/http-exchange.ts'

/** The programs of an agent, as `s2 up` reports them. */
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

/** The socket at which the supervisor of a local fleet takes commands. */
export function controlSocket(state: string): string {
  return join(state, 'run', 'up.sock')
}

const ANSWER_MS = 15_000
const ANSWER_MAX = 1_048_576

/** Sends a request to the `s2 up` of a state folder; null when none runs. Throws its refusal as an `S2Error`. */
export async function askControl(
  state: string,
  ask: { readonly method: 'GET' | 'POST'; readonly path: string; readonly body?: unknown },
  clock: Clock,
): Promise<unknown> {
  const { method, path, body } = ask
  const to = { address: { path: controlSocket(state) }, path }
  const request = { to, method, answerMax: ANSWER_MAX, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
  let answer: HttpAnswer
  try {
    answer = await boundedWait((signal) => httpExchange(request, signal), ANSWER_MS, clock)
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
