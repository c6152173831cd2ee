import type { Clock } from './clock.ts'

/** Gives something so long to happen; what it is given to stop by aborts when the time is over. */
export async function boundedWait<T>(
  act: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<T> {
  const over = new AbortController()
  const acting = act(AbortSignal.any([signal, over.signal]))
  const timeout = clock.sleep(timeoutMs, AbortSignal.any([signal, over.signal])).then(
    () => Promise.reject(new Error(`no answer in ${timeoutMs} ms`)),
    () => (over.signal.aborted ? acting : Promise.reject(new Error('the program ends'))),
  )
  try {
    return await Promise.race([acting, timeout])
  } finally {
    over.abort()
    acting.catch(() => undefined)
    timeout.catch(() => undefined)
  }
}
