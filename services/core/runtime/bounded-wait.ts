import type { Clock } from './clock.ts'

/** The answer of a bounded wait whose time is over. */
export const LATE = Symbol('late')
export type Late = typeof LATE

/** A bounded wait ended before the answer came. */
export class WaitError extends Error {
  override readonly name = 'WaitError'
}

/** Waits for a promise until the signal aborts, then answers `LATE`; what it stands for goes on. Rejects as the promise does. */
export async function waitUnlessAborted<T>(going: Promise<T>, signal: AbortSignal): Promise<T | Late> {
  const aborted = Promise.withResolvers<Late>()
  const onAbort = (): void => aborted.resolve(LATE)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await Promise.race([going, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
    going.catch(() => undefined) // nobody waits for a later failure
  }
}

/** The same with a deadline: `LATE` after `timeoutMs`, or when the signal aborts before. */
export async function waitAtMost<T>(
  going: Promise<T>,
  timeoutMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<T | Late> {
  const answered = new AbortController()
  const deadline = new AbortController()
  const until = signal === undefined ? answered.signal : AbortSignal.any([signal, answered.signal])
  const over = (): void => deadline.abort()
  void clock.sleep(timeoutMs, until).then(over, over)
  try {
    return await waitUnlessAborted(going, deadline.signal)
  } finally {
    answered.abort()
  }
}

/**
 * Runs an act for at most `timeoutMs`. After that, or when the signal aborts, the act's own signal aborts and this rejects
 * with a `WaitError`, whether or not the act heeds it.
 */
export async function boundedWait<T>(
  act: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<T> {
  const over = new AbortController()
  try {
    const until = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    const answer = await waitAtMost(act(until), timeoutMs, clock, signal)
    if (answer !== LATE) return answer
    throw new WaitError(signal?.aborted === true ? 'the program ends' : `no answer within ${timeoutText(timeoutMs)}`)
  } finally {
    over.abort()
  }
}

function timeoutText(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`
}
