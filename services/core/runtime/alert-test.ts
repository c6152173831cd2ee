import { join } from 'node:path'
import { boundedWait } from './bounded-wait.ts'
import type { Clock } from './clock.ts'
import { httpExchange } from './http-exchange.ts'

/** What became of a test alert at one channel of the watchdog. */
export interface ChannelTest {
  readonly channel: string
  readonly outcome: 'told' | 'failed'
  /** Why it failed; null where it was told. */
  readonly why: string | null
  readonly tookMs: number
}

/** Longer than the watchdog gives a channel. */
const ANSWER_MS = 20_000
const ANSWER_MAX = 1_048_576

/** The socket where the watchdog is asked for test alerts. Who may open it may send them. */
export function alertSocket(state: string): string {
  return join(state, 'run', 'alerts.sock')
}

/** Has the watchdog of a state folder send a test alert through each of its channels. Rejects where none answers. */
export async function askForTestAlerts(state: string, clock: Clock): Promise<readonly ChannelTest[]> {
  const to = { address: { path: alertSocket(state) }, path: '/test' }
  const request = { to, method: 'POST', answerMax: ANSWER_MAX } as const
  const { status, body } = await boundedWait((signal) => httpExchange(request, signal), ANSWER_MS, clock)
  if (status !== 200) throw new Error(`it answered with status ${status}`)
  return JSON.parse(body) as ChannelTest[]
}
