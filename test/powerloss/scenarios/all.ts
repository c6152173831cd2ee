import type { AnyScenario } from '../scenario.ts'
import { inbox, outbox, twoLives } from './spool.ts'

export const SCENARIOS: readonly AnyScenario[] = [outbox, inbox, twoLives]

export function scenarioOf(name: string): AnyScenario {
  const scenario = SCENARIOS.find((each) => each.name === name)
  if (scenario === undefined) throw new Error(`there is no scenario ${name}`)
  return scenario
}
