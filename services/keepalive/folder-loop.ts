import { RestByCost } from '#runtime/rest-by-cost.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'

export interface FolderLoopParts extends Omit<RetryLoopParts, 'step' | 'restMs' | 'limits'> {
  /** Looks into the folder once; answers milliseconds until the next look is wanted. */
  look(): Promise<number>
}

/** After a look the loop rests this many times as long as the look took, however it is nudged, but never longer than `REST_MAX_MS`. */
const REST_FACTOR = 4
const REST_MAX_MS = 5_000

/** Looks into a folder of the spool again and again: at intervals, and soon after each nudge. */
export function folderLoop({ look, ...parts }: FolderLoopParts): RetryLoop {
  const { clock } = parts
  const rest = new RestByCost(REST_FACTOR)
  let restUntil = Number.NEGATIVE_INFINITY
  return new RetryLoop({
    ...parts,
    restMs: () => restUntil - clock.now(),
    step: async () => {
      const began = clock.now()
      const pauseMs = await look()
      rest.note(clock.now() - began)
      const restMs = rest.restMs(REST_MAX_MS)
      restUntil = clock.now() + restMs
      return Math.max(pauseMs, restMs)
    },
  })
}
