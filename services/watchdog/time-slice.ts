import type { Clock } from '#runtime/clock.ts'

/** What is done in one go, milliseconds: for so long a verdict may have to wait. */
const SLICE_MS = 2

/** Does a work of many steps with pauses in between, in which verdicts can be passed. */
export async function inSlices(steps: Iterator<void>, clock: Pick<Clock, 'now' | 'sleep'>): Promise<void> {
  for (let began = clock.now(); steps.next().done !== true; ) {
    if (clock.now() - began < SLICE_MS) continue
    await clock.sleep(0)
    began = clock.now()
  }
}
