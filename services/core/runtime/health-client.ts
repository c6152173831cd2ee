import { join } from 'node:path'
import { boundedWait, WaitError } from './bounded-wait.ts'
import type { Clock } from './clock.ts'
import type { HealthReport } from './health.ts'
import { httpExchange } from './http-exchange.ts'
import type { Address } from './setting-parsers.ts'

/** What a program says of itself; where it does not answer, its state is `away`. */
export interface ProgramHealth extends HealthReport {
  readonly program: string
}

/** Programs of earlier versions do not tell of warnings. */
type ToldByAll = Omit<HealthReport, 'warnings'>

const ANSWER_MS = 5_000
const ANSWER_MAX = 1_048_576

/** The socket of a program's health unless S2_HEALTH names another address. */
export function healthSocket(state: string, program: string): string {
  return join(state, 'run', `${program}.sock`)
}

/** Asks a program's `/readyz`. Without an answer in 5 s its state is `away`. */
export async function askHealth(program: string, address: Address, clock: Clock): Promise<ProgramHealth> {
  const request = { to: { address, path: '/readyz' }, answerMax: ANSWER_MAX }
  try {
    const { body } = await boundedWait((signal) => httpExchange(request, signal), ANSWER_MS, clock)
    const { ready, state, status, troubles, warnings = {} } = JSON.parse(body) as Partial<HealthReport> & ToldByAll
    return { program, ready, state, status, troubles, warnings }
  } catch (error) {
    const status = whyAway(error as NodeJS.ErrnoException)
    return { program, ready: false, state: 'away', status, troubles: {}, warnings: {} }
  }
}

function whyAway(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') return 'it does not run'
  return error instanceof WaitError ? `${error.message}: it hangs, or was stopped` : error.message
}
