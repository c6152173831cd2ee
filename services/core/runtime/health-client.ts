import { request } from 'node:http'
import { join } from 'node:path'
import type { Address } from './settings.ts'
import { socketPath } from './socket-path.ts'

export interface ProgramHealth {
  readonly program: string
  readonly ready: boolean
  /** init, ready, stuck, draining, stopped; or `away` when nobody answers. */
  readonly state: string
  readonly status: string
  readonly troubles: Readonly<Record<string, string>>
}

const ANSWER_MS = 5_000
const ANSWER_MAX = 1_048_576

/** Where a program answers for its health unless S2_HEALTH says otherwise. */
export function healthSocket(state: string, program: string): string {
  return join(state, 'run', `${program}.sock`)
}

/** Asks a program's `/readyz`; one that does not answer in 5 s is away. */
export async function askHealth(program: string, address: Address): Promise<ProgramHealth> {
  try {
    const report = JSON.parse(await get(address, '/readyz')) as Omit<ProgramHealth, 'program'>
    return { program, ready: report.ready, state: report.state, status: report.status, troubles: report.troubles }
  } catch (error) {
    return { program, ready: false, state: 'away', status: whyAway(error as NodeJS.ErrnoException), troubles: {} }
  }
}

function whyAway({ name, code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return 'it does not run'
  if (name === 'AbortError' || name === 'TimeoutError')
    return `no answer within ${ANSWER_MS / 1000} s: it hangs, or was stopped`
  return message
}

async function get(address: Address, path: string): Promise<string> {
  using door = 'path' in address ? socketPath(address.path) : null
  const where =
    'path' in address ? { socketPath: door?.path ?? address.path } : { host: address.host, port: address.port }
  return await new Promise((resolve, reject) => {
    const asked = request({ ...where, path, signal: AbortSignal.timeout(ANSWER_MS) }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
        if (body.length > ANSWER_MAX) response.destroy(new Error('it said too much'))
      })
      response.on('end', () => resolve(body))
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end()
  })
}
