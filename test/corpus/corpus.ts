import { COMMANDS } from './commands.ts'
import { FLEETS } from './fleets.ts'
import { PYTHONS } from './pythons.ts'
import { judge, type Situation, type Verdict } from './situation.ts'

export const SITUATIONS: readonly Situation[] = [...FLEETS, ...PYTHONS, ...COMMANDS]

export interface Played extends Verdict {
  readonly situation: Situation
}

export async function play(situation: Situation): Promise<Played> {
  return { situation, ...judge(situation, await situation.play(situation.follows)) }
}
