import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { s2Command } from '../rehearse/stage.ts'
import type { Dice } from '../simulation/chance.ts'
import type { Toll } from './lives.ts'

/** Commands are killed while they start and while they work. */
const LASTS = [0, 600] as const
const PAUSE_MS = 100

/** What is said, and what hears of each command that ended with exit code 0. */
export interface Speaker {
  next(): readonly string[]
  done?(words: readonly string[]): void
}

/** Says commands of `s2`, one after the other, half of them killed at an instant of chance, until enough were killed. */
export async function sayCommands(env: NodeJS.ProcessEnv, speaker: Speaker, dice: Dice, toll: Toll): Promise<void> {
  while (!toll.isFull) {
    const words = speaker.next()
    const code = await say(env, words, dice.chance(0.5) ? dice.between(...LASTS) : null)
    if (code === null) toll.add(`s2 ${words[0]}`)
    if (code === 0) speaker.done?.(words)
    await sleep(PAUSE_MS)
  }
}

/** Answers the exit code; null where it was killed. */
async function say(
  env: NodeJS.ProcessEnv,
  words: readonly string[],
  killedAfterMs: number | null,
): Promise<number | null> {
  const [file, ...args] = s2Command()
  const child = spawn(file, [...args, ...words], { env, stdio: 'ignore' })
  const over = new AbortController()
  if (killedAfterMs !== null) {
    void sleep(killedAfterMs, undefined, { signal: over.signal }).then(
      () => child.kill('SIGKILL'),
      () => undefined,
    )
  }
  const [code] = (await once(child, 'close')) as [number | null]
  over.abort()
  return code
}
