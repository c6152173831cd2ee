import { isMass, type Roster } from '#fleet/failure-detector.ts'

/** What became of the agents that were lost together. */
export interface MassFate {
  readonly returned: number
  /** How many left the fleet on purpose. */
  readonly departed: number
  /** Lost still, though no conversation may name them any more. */
  readonly missing: readonly string[]
}

/** Who was lost in the mass silence that is, or was last, and what became of them. */
export class MassLosses {
  readonly #lost = new Set<string>()
  readonly #departed = new Set<string>()
  #isOn = false

  /** Many fell silent together, and are not back yet. */
  get isOn(): boolean {
    return this.#isOn
  }

  begin(): void {
    if (this.#isOn) return
    this.#isOn = true
    this.#lost.clear()
    this.#departed.clear()
  }

  end(): void {
    this.#isOn = false
  }

  add(agent: string): void {
    this.#lost.add(agent)
  }

  /** This agent left the fleet on purpose: nobody waits for it. */
  depart(agent: string): void {
    if (this.#lost.has(agent)) this.#departed.add(agent)
  }

  get agents(): Iterable<string> {
    return this.#lost
  }

  fate(fleet: Pick<Roster, 'standing'>): MassFate {
    let returned = 0
    const missing: string[] = []
    for (const agent of this.#lost) {
      const standing = fleet.standing(agent)
      if (standing?.verdict === 'alive' && standing.proven) returned += 1
      else if (!this.#departed.has(agent)) missing.push(agent)
    }
    return { returned, departed: this.#departed.size, missing: missing.sort() }
  }

  /**
   * Whether so many are lost still that it is one cause, those included whom no conversation names any more: that a
   * conversation expires while the network is away brings nobody back.
   */
  lasts(fleet: Pick<Roster, 'massSilence' | 'tally' | 'standing'>): boolean {
    if (fleet.massSilence) return true
    const vanished = this.fate(fleet).missing.filter((agent) => fleet.standing(agent) === undefined).length
    return vanished > 0 && isMass(fleet.tally.unheard + vanished, fleet.tally.count + vanished)
  }
}
