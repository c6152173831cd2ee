/** Why an observer missed some time: it stood still, or the wall clock jumped. */
export type ObserverPause = 'paused' | 'clock_jumped'

/** How far two looks lie apart, by both clocks, and how far apart they were meant to be. Milliseconds. */
export interface LookGap {
  readonly expectedMs: number
  readonly monotonicMs: number
  readonly wallMs: number
}

/**
 * Whether the observer itself was away between two looks: stopped or starved for longer than it lets an agent be unheard,
 * or suspended, which only the wall clock shows (the monotonic clock stands still then). Null: it missed nothing.
 */
export function detectPause(gap: LookGap, allowedMs: number): ObserverPause | null {
  if (gap.monotonicMs - gap.expectedMs > allowedMs) return 'paused'
  return Math.abs(gap.wallMs - gap.monotonicMs) > allowedMs ? 'clock_jumped' : null
}
