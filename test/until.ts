import { setTimeout as sleep } from 'node:timers/promises'

/** Far longer than anything here takes: a machine whose disk stalls, or that others keep busy, is late and not wrong. */
export const PATIENCE_MS = 240_000

/** Looks until it is so; answers how many milliseconds that took. A look that fails is not the answer yet. */
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
