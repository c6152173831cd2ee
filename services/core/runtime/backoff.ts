import type { Chance } from './clock.ts'

export interface BackoffLimits {
  readonly firstMs: number
  readonly mostMs: number
}

/**
 * How long to wait before try number `attempt` (0 is the first repeat): full jitter over a doubling ceiling,
 * so that a thousand clients of a restarted server do not come back together (AWS Architecture Blog, 2015).
 */
export function backoff(attempt: number, { firstMs, mostMs }: BackoffLimits, chance: Chance): number {
  return chance() * Math.min(mostMs, firstMs * 2 ** Math.min(attempt, 30))
}
