import type { Roster } from '#fleet/failure-detector.ts'
import type { NewIncident } from '#fleet/incident.ts'

/** What incidents tell, or are to tell, of one lost agent. */
export interface AgentLoss {
  /** Its incident is still to be opened. */
  readonly isDue: boolean
  /** Where an open incident tells of its death: the signs of life that it had shown by then. Null where none does. */
  readonly signsAtDeath: number | null
}

/**
 * What incidents tell of lost agents: which losses are still to be reported, and which deaths are. An agent that was lost is
 * reported once, whether it was first missed or first known to be dead, and by whichever watchdog.
 */
export class ReportedLosses {
  readonly #losses = new Map<string, AgentLoss>()

  get byAgent(): ReadonlyMap<string, AgentLoss> {
    return this.#losses
  }

  isDue(agent: string): boolean {
    return this.#losses.get(agent)?.isDue === true
  }

  isDeathReported(agent: string): boolean {
    return (this.#losses.get(agent)?.signsAtDeath ?? null) !== null
  }

  /** These agents were found to be single losses, each of which needs an incident. */
  add(agents: Iterable<string>): void {
    for (const agent of agents) {
      this.#losses.set(agent, { isDue: true, signsAtDeath: this.#losses.get(agent)?.signsAtDeath ?? null })
    }
  }

  /** An incident of a loss is open, whoever opened it. */
  noteReport({ agent, kind }: NewIncident, fleet: Pick<Roster, 'standing'>): void {
    if (agent !== null)
      this.#losses.set(agent, { isDue: false, signsAtDeath: kind === 'gone' ? signsOf(agent, fleet) : null })
  }

  /** Takes over which incidents are open in the store. A loss whose agent was heard since needs no incident any more. */
  takeOpen(open: readonly NewIncident[], fleet: Pick<Roster, 'standing' | 'hasIncident'>): void {
    const known = new Map(this.#losses)
    this.#losses.clear()
    for (const [agent, { isDue }] of known) {
      if (isDue && fleet.hasIncident(agent)) this.#losses.set(agent, { isDue, signsAtDeath: null })
    }
    for (const { agent, kind } of open.filter(isLoss)) {
      if (agent === null) continue
      const before = this.#losses.get(agent)?.signsAtDeath ?? null
      const signs = kind === 'gone' ? (known.get(agent)?.signsAtDeath ?? signsOf(agent, fleet)) : before
      this.#losses.set(agent, { isDue: false, signsAtDeath: signs })
    }
  }
}

/** Whether an incident tells of one agent that was lost. */
export function isLoss({ kind }: Pick<NewIncident, 'kind'>): boolean {
  return kind === 'silent' || kind === 'gone'
}

function signsOf(agent: string, fleet: Pick<Roster, 'standing'>): number {
  return fleet.standing(agent)?.signs ?? 0
}
