import type { AnyScenario } from '../scenario.ts'
import { heldTasks, messageLeases, saidEnds } from './agents.ts'
import { backup, keptEarlier, restoreOverDamage, restoreScenario, segments } from './backups.ts'
import { clientSettings, clients, wakesAndSpending } from './clients.ts'
import { credentials, guard } from './credentials.ts'
import { inbox, outbox, twoLives, twoLivesOfAcks } from './spool.ts'
import { besidePython, newDatabase, storeScenario } from './store.ts'

export const SCENARIOS: readonly AnyScenario[] = [
  storeScenario,
  besidePython,
  newDatabase,
  outbox,
  inbox,
  twoLives,
  twoLivesOfAcks,
  credentials,
  guard,
  heldTasks,
  saidEnds,
  messageLeases,
  wakesAndSpending,
  clients,
  clientSettings,
  backup,
  restoreScenario,
  restoreOverDamage,
  segments,
  keptEarlier,
]

export function scenarioOf(name: string): AnyScenario {
  const scenario = SCENARIOS.find((each) => each.name === name)
  if (scenario === undefined) throw new Error(`there is no scenario ${name}`)
  return scenario
}
