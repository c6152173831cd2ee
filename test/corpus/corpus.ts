import { CLIENTS } from './clients.ts'
import { COMMANDS } from './commands.ts'
import { FLEETS } from './fleets.ts'
import { PYTHONS } from './pythons.ts'
import { judge, type Situation, type Verdict } from './situation.ts'

/** Of a fleet under a clock that is moved: they take what time the processor needs for them. */
export const SIMULATED: readonly Situation[] = [...FLEETS, ...CLIENTS, ...PYTHONS]
/** Of real commands, which take real time and little else. */
export const REAL: readonly Situation[] = COMMANDS
/** How many of those may be played side by side. */
export const AT_ONCE = 3

export interface Played extends Verdict {
  readonly situation: Situation
}

export async function play(situation: Situation): Promise<Played> {
  return { situation, ...judge(situation, await situation.play(situation.follows)) }
}

/** Plays situations, so many at a time, and answers them in their order. */
export async function playAll(situations: readonly Situation[], atOnce: number): Promise<Played[]> {
  const waiting = [...situations.entries()]
  const played: Played[] = []
  const playNext = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [place, situation] = next
      played[place] = await play(situation)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, playNext))
  return played
}

/** What came of all of them: faults that are known count as faults. */
export interface Sum {
  readonly situations: number
  /** Of healthy work that was disturbed. */
  readonly disturbed: number
  /** Of other work that was missed, or treated as it should not be. */
  readonly missed: number
  /** Among these, how many are known. */
  readonly known: number
}

export function sumOf(played: readonly Played[]): Sum {
  const wrong = played.filter(({ faults }) => faults.length > 0).map(({ situation }) => situation)
  const disturbed = wrong.filter(({ label }) => label === 'healthy').length
  const known = wrong.filter((situation) => situation.known !== undefined).length
  return { situations: played.length, disturbed, missed: wrong.length - disturbed, known }
}
