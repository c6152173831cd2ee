import { boundedWait, WaitError } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { httpExchange } from '#runtime/http-exchange.ts'
import { adviceOnCertificate } from '#store/remote/tls-error-advice.ts'

/** The result of asking a bridge whether it answers. */
export type Probe =
  | { readonly answers: true }
  | { readonly answers: false; readonly why: string; readonly next: string }

const ANSWER_MS = 8_000
const ANSWER_MAX = 65_536

/** Asks whether a bridge answers at an address, trusting this authority, or those that this machine knows. */
export async function probeBridge(
  url: string,
  authority: string | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<Probe> {
  const request = { to: new URL(PATH, url), authority, answerMax: ANSWER_MAX }
  try {
    const { status, body } = await boundedWait((until) => httpExchange(request, until), ANSWER_MS, clock, signal)
    return readAnswer(url, status, body)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (error instanceof WaitError)
      return failed(
        `${url} does not answer within ${ANSWER_MS / 1_000} s`,
        'look at firewalls and routes between the two hosts',
      )
    const advice = adviceOnCertificate(error, { carried: authority !== undefined })
    if (advice !== null) return failed(`${url}: ${advice.what}`, advice.next)
    return failed(`${url} is not reached: ${message}`, adviceOn(code, url))
  }
}

function adviceOn(code: string | undefined, url: string): string {
  const { hostname, port } = new URL(url)
  if (code === 'ECONNREFUSED')
    return `start the bridge there, and look at S2_LISTEN: it has to listen at port ${port} beyond its own machine`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `make ${hostname} resolve here, by DNS or in /etc/hosts`
  if (code === 'EPROTO')
    return 'what listens there may speak no TLS: look at the port, and at S2_TLS_CERT of the bridge'
  return 'look at the network and the firewalls between the two hosts'
}

/** The bridge serves nothing at this path, and answers with an error of its own; other servers answer differently. */
const PATH = '/v1/'

function readAnswer(url: string, status: number, body: string): Probe {
  const problem = problemIn(body)
  if (problem?.code === 'not_found') return { answers: true }
  if (problem?.code === 'forbidden')
    return failed(
      `the bridge at ${url} does not accept this host name`,
      'on its host add the name to S2_ALLOWED_HOSTS, and restart s2-bridge',
    )
  return failed(
    `another server than the bridge answers at ${url} (status ${status})`,
    'look at the port, and at the proxy in front of the bridge',
  )
}

function problemIn(body: string): { readonly code?: unknown } | null {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' ? value : null
  } catch {
    return null
  }
}

function failed(why: string, next: string): Probe {
  return { answers: false, why, next }
}
