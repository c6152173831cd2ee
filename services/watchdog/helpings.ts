import type { Clock } from '#runtime/clock.ts'

/** What a large fleet takes in one go: a millisecond or two, for which a verdict may have to wait. */
const HELPING = 1_000

/** Goes through many things with a breath after every thousand, so that verdicts are passed in between. */
export async function* inHelpings<T>(things: Iterable<T>, clock: Pick<Clock, 'sleep'>): AsyncGenerator<T> {
  let left = HELPING
  for (const thing of things) {
    if (left === 0) {
      await clock.sleep(0)
      left = HELPING
    }
    left -= 1
    yield thing
  }
}
