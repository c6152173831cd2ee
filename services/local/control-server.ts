import { createServer } from 'node:http'
import { AGENT_ACTIONS, type AgentAction, type AgentProcesses, controlSocket } from '#console/fleet-control.ts'
import { S2Error } from '#fleet/errors.ts'
import { listen } from '#runtime/health.ts'
import { closest } from '#runtime/read-settings.ts'

/** The control interface of a local fleet. */
export interface ControlledFleet {
  agents(): readonly AgentProcesses[]
  /** Answers how many processes were affected. Throws `not_found`. */
  act(act: AgentAction, agent: string): Promise<number>
}

const BODY_MAX = 10_000

/** Serves the control interface on a unix socket in the state folder until disposed. Throws ConfigError when it is in use. */
export async function serveControl(fleet: ControlledFleet, state: string): Promise<AsyncDisposable> {
  const server = createServer((asked, response) => {
    const answer = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
    }
    const act = AGENT_ACTIONS.find((each) => asked.url === `/${each}`)
    if (asked.method === 'GET' && asked.url === '/agents') return answer(200, fleet.agents())
    if (asked.method !== 'POST' || act === undefined) return answer(404, { message: 'no such command' })
    let body = ''
    asked.setEncoding('utf8')
    asked.on('data', (chunk: string) => {
      body += chunk
      if (body.length > BODY_MAX) asked.destroy()
    })
    asked.on('end', () => {
      runAction(fleet, act, body).then(
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

async function runAction(fleet: ControlledFleet, act: AgentAction, body: string): Promise<number> {
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
  agents: readonly M[],
  name: string,
): M {
  const named = agents.find(({ agent }) => agent === name)
  const ofRole = agents.filter(({ role }) => role === name)
  const found = named ?? (ofRole.length === 1 ? ofRole[0] : undefined)
  if (found !== undefined) return found
  const near = closest(
    name,
    agents.flatMap(({ agent, role }) => [agent, role]),
  )
  throw new S2Error('not_found', `this fleet has no agent ${JSON.stringify(name)}`, {
    next: near === undefined ? `it has ${agents.map(({ agent }) => agent).join(', ')}` : `did you mean ${near}?`,
  })
}
