import { setTimeout as sleep } from 'node:timers/promises'

/** Far longer than any wait of a test: a busy machine, or a stalled disk, must not fail it. */
export const PATIENCE_MS = 240_000

/** Polls until a condition holds; answers the milliseconds that took. An error of the condition is retried. */
export async function until(what: string, isSo: () => unknown, mostMs = PATIENCE_MS): Promise<number> {
  const began = performance.now()
  let cause: unknown
  for (;;) {
    try {
      if (await isSo()) return performance.now() - began
    } catch (failure) {
      cause = failure
    }
    if (performance.now() - began > mostMs) throw new Error(`not within ${mostMs / 1_000} s: ${what}`, { cause })
    await sleep(10)
  }
}
