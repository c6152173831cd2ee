import { join } from 'node:path'
import { boundedWait, WaitError } from './bounded-wait.ts'
import type { Clock } from './clock.ts'
import { httpExchange } from './http-exchange.ts'
import type { Address } from './setting-parsers.ts'

export interface ProgramHealth {
  readonly program: string
  readonly ready: boolean
  /** init, ready, stuck, draining, stopped; or `away` when it does not answer. */
  readonly state: string
  readonly status: string
  readonly troubles: Readonly<Record<string, string>>
}

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
    const report = JSON.parse(body) as Omit<ProgramHealth, 'program'>
    return { program, ready: report.ready, state: report.state, status: report.status, troubles: report.troubles }
  } catch (error) {
    return { program, ready: false, state: 'away', status: whyAway(error as NodeJS.ErrnoException), troubles: {} }
  }
}

function whyAway(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') return 'it does not run'
  return error instanceof WaitError ? `${error.message}: it hangs, or was stopped` : error.message
}
