import type { Incident, NewIncident } from '#fleet/incident.ts'
import type { Store } from '#store/store.ts'

/**
 * The incidents that are open, as far as this watchdog knows: read from the store at the start and with each round, as
 * another watchdog may have opened or closed some. The store itself sees to it that a cause is open only once.
 */
export class OpenIncidents {
  readonly #store: Store
  readonly #channels: readonly string[]
  #open = new Map<string, NewIncident>()

  constructor(store: Store, channels: readonly string[]) {
    this.#store = store
    this.#channels = channels
  }

  async read(): Promise<readonly Incident[]> {
    const open = await this.#store.incidents({ open: true })
    this.#open = new Map(open.map((incident) => [incident.cause, incident]))
    return open
  }

  get byCause(): ReadonlyMap<string, NewIncident> {
    return this.#open
  }

  isOpen(cause: string): boolean {
    return this.#open.has(cause)
  }

  /** The open ones of a kind. */
  of(kind: NewIncident['kind']): NewIncident[] {
    return [...this.#open.values()].filter((incident) => incident.kind === kind)
  }

  /** Opens an incident unless it is open; answers whether this was the watchdog that did it. */
  async open(incident: NewIncident): Promise<boolean> {
    const first = await this.#store.openIncident(incident, this.#channels)
    this.#open.set(incident.cause, incident)
    return first
  }

  /** Opens an incident without an alert: the one watchdog that could open it may do what it names. */
  async claim(incident: NewIncident): Promise<boolean> {
    const first = await this.#store.openIncident(incident, [])
    this.#open.set(incident.cause, incident)
    return first
  }

  async release(cause: string): Promise<void> {
    await this.#store.closeIncident(cause, [])
    this.#open.delete(cause)
  }

  /** All of a kind that there ever were, the closed ones too. */
  async history(kind: Incident['kind']): Promise<Incident[]> {
    return (await this.#store.incidents({ open: false })).filter((incident) => incident.kind === kind)
  }

  /** Closes an incident; `outcome` says what is over and why. Answers whether this was the watchdog that did it. */
  async close(cause: string, outcome: string | null = null): Promise<boolean> {
    if (!this.#open.has(cause)) return false
    const last = await this.#store.closeIncident(cause, this.#channels, outcome)
    this.#open.delete(cause)
    return last
  }
}
