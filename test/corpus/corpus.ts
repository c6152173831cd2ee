import { COMMANDS } from './commands.ts'
import { judge, type Situation, type Verdict } from './situation.ts'

export const SITUATIONS: readonly Situation[] = [...COMMANDS]

export interface Played extends Verdict {
  readonly situation: Situation
}

export async function play(situation: Situation): Promise<Played> {
  return { situation, ...judge(situation, await situation.play(situation.follows)) }
}
