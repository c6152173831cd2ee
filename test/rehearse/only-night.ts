import { playNight } from './night.ts'
import { Telling } from './telling.ts'

const telling = new Telling()
try {
  await playNight(telling)
} catch (error) {
  telling.check('end', false, String((error as Error).stack))
}
telling.end()
