import type { Clock } from '#runtime/clock.ts'

/** What a large fleet takes in one go: a millisecond or two, for which a verdict may have to wait. */
const HELPING = 1_000

/** Does a work of many steps with a breath after every thousand, so that verdicts are passed in between. */
export async function inHelpings(steps: Iterator<void>, clock: Pick<Clock, 'sleep'>): Promise<void> {
  for (let done = 1; steps.next().done !== true; done += 1) {
    if (done % HELPING === 0) await clock.sleep(0)
  }
}
