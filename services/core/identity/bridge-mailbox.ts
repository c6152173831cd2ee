import { textHead } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import type { JoinOutcome } from '#fleet/worker.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { type HttpAnswer, httpExchange } from '#runtime/http-exchange.ts'

/**
 * What a host without a credential asks a bridge. What goes there is sealed, and what comes back is signed, so that nothing
 * depends on whether the bridge is the right one.
 */

const ANSWER_MAX = 131_072
const CALL_MS = 10_000

/** The sealed credential that the bridge keeps for a host's key; null where it has none. Throws `unavailable`. */
export async function fetchPublished(
  bridgeUrl: string,
  key: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<string | null> {
  const answer = await ask(bridgeUrl, 'publishedCredential', { key }, clock, signal)
  return typeof answer === 'string' ? answer : null
}

/** Hands a sealed request to join to the bridge. Throws `unavailable`. */
export async function submitRequest(
  bridgeUrl: string,
  sealed: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<void> {
  await ask(bridgeUrl, 'submitJoin', { sealed }, clock, signal)
}

/** What became of a request. Nothing depends on it but what a person is told. Throws `unavailable`. */
export async function askOutcome(
  bridgeUrl: string,
  id: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<JoinOutcome> {
  const { state, why } = ((await ask(bridgeUrl, 'joinOutcome', { id }, clock, signal)) ?? {}) as Partial<JoinOutcome>
  const known = state === 'waiting' || state === 'admitted' || state === 'refused' ? state : 'unknown'
  return { state: known, why: typeof why === 'string' ? textHead(why, 300) : null }
}

async function ask(bridgeUrl: string, verb: string, body: object, clock: Clock, outer?: AbortSignal): Promise<unknown> {
  const where = new URL(bridgeUrl).origin
  const to = new URL(`/v1/${verb}`, bridgeUrl)
  let answer: HttpAnswer
  try {
    answer = await boundedWait(
      (signal) =>
        httpExchange(
          {
            to,
            method: 'POST',
            body: JSON.stringify(body),
            contentType: 'application/json',
            anyCertificate: true,
            answerMax: ANSWER_MAX,
          },
          signal,
        ),
      CALL_MS,
      clock,
      outer,
    )
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new S2Error('unavailable', `the bridge at ${where} cannot be reached (${code ?? message})`, {
      next: 'check the bridge, its address and the network between',
    })
  }
  if (answer.status === 200) return parsed(answer.body)
  throw new S2Error('unavailable', `the bridge at ${where} refused ${verb} (status ${answer.status})`, {
    next: answer.status === 404 ? 'let both sides have the same version of S2' : 'try again later',
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
