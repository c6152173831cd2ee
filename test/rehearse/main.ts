/**
 * The fleet as a story: nine agents as real processes do real tasks while one is frozen, one is killed, the bridge dies
 * under load and a credential is rotated; then a fleet works by night, with all that befalls tasks and places; then a small fleet
 * sleeps for longer than its tokens live. Prints what happened when, and ends with `N passed, N failed`.
 */
import { playNight } from './night.ts'
import { playNightShift } from './night-shift.ts'
import { Stage } from './stage.ts'
import { play } from './story.ts'
import { Telling } from './telling.ts'

// Whoever reads the story may leave before its end.
process.stdout.on('error', () => undefined)
/** `day`, `night` or `shift` where only one of the stories is wanted. */
const [, , ONLY] = process.argv
const telling = new Telling()
try {
  await using stage = new Stage()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void stage[Symbol.asyncDispose]().finally(() => process.exit(1)))
  }
  try {
    if (ONLY === undefined || ONLY === 'day') await play(stage, telling)
    if (ONLY === undefined || ONLY === 'shift') await playNightShift(telling)
    if (ONLY === undefined || ONLY === 'night') await playNight(telling)
  } catch (error) {
    telling.check('the story comes to its end', false, (error as Error).stack ?? String(error))
  }
  stage.keep = telling.failed > 0
  if (stage.keep) console.log(`\nwhat s2 up said:\n${stage.said().slice(-6_000)}\nleft to look at: ${stage.folder}`)
} catch (error) {
  telling.check('the stage is cleared', false, String(error))
}
telling.end()
if (telling.failed > 0) process.exitCode = 1
