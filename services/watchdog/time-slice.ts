import type { Clock } from '#runtime/clock.ts'

/** What is done in one go, milliseconds: for so long a verdict may have to wait. */
const HELPING_MS = 2

/** Does a work of many steps with a breath in between, so that verdicts are passed meanwhile. */
export async function inSlices(steps: Iterator<void>, clock: Pick<Clock, 'now' | 'sleep'>): Promise<void> {
  for (let began = clock.now(); steps.next().done !== true; ) {
    if (clock.now() - began < HELPING_MS) continue
    await clock.sleep(0)
    began = clock.now()
  }
}
