import { failingChannel, type Incident, type NewIncident } from '#fleet/incident.ts'
import { type Clock, elapsedMs, type Moment, momentOf } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { ByEvidence } from './evidence-age.ts'
import { planRetellings } from './lasting-incidents.ts'

/** An incident that is over, and the sentence that says what is over, and of what. */
export interface IncidentEnd {
  readonly cause: string
  readonly outcome: string
}

/** An incident that is open, and since when: by the wall clock, and as this watchdog has seen it, by its own clock. */
export type OpenIncident = NewIncident & Pick<Incident, 'openedAt'> & { readonly seenAt: number }

/**
 * The incidents that are open, as far as this watchdog knows: read from the store at the start and with each round, as
 * another watchdog may have opened or closed some. The store itself sees to it that a cause is open only once, and that nothing
 * older than its last change opens or closes it.
 */
export class OpenIncidents {
  readonly #store: Store
  readonly #channels: readonly string[]
  readonly #clock: Pick<Clock, 'now' | 'wall'>
  #open = new Map<string, OpenIncident>()
  /** As they were read last. */
  #read: readonly Incident[] = []
  /** When this watchdog first saw each of them open, by its own clock. */
  #seenAt: ReadonlyMap<number, number> = new Map()

  constructor(store: Store, channels: readonly string[], clock: Pick<Clock, 'now' | 'wall'>) {
    this.#store = store
    this.#channels = channels
    this.#clock = clock
  }

  async read(): Promise<readonly Incident[]> {
    const open = await this.#store.incidents({ open: true })
    const now = this.#clock.now()
    this.#seenAt = new Map(open.map(({ id }) => [id, this.#seenAt.get(id) ?? now]))
    this.#open = new Map(open.map((each) => [each.cause, { ...each, seenAt: this.#seenAt.get(each.id) ?? now }]))
    this.#read = open
    return open
  }

  get byCause(): ReadonlyMap<string, OpenIncident> {
    return this.#open
  }

  isOpen(cause: string): boolean {
    return this.#open.has(cause)
  }

  /** The open ones of a kind. */
  of(kind: NewIncident['kind']): OpenIncident[] {
    return [...this.#open.values()].filter((incident) => incident.kind === kind)
  }

  /** Opens an incident unless it is open, or was closed since that was read; answers whether this was the watchdog that did it. */
  async open(incident: ByEvidence<NewIncident>): Promise<boolean> {
    return await this.#add(incident, this.#channelsFor(incident))
  }

  /** Opens an incident without an alert: the one watchdog that could open it may do what it names. */
  async claim(incident: ByEvidence<NewIncident>): Promise<boolean> {
    return await this.#add(incident, [])
  }

  /** Ends such a claim; `outcome` says what became of it. */
  async release(cause: string, outcome: string): Promise<void> {
    await this.#store.closeIncident(cause, [], outcome)
    this.#open.delete(cause)
  }

  /** All of a kind that there ever were, the closed ones too. */
  async history(kind: Incident['kind']): Promise<Incident[]> {
    return (await this.#store.incidents({ open: false })).filter((incident) => incident.kind === kind)
  }

  /**
   * Closes an incident unless it was opened since that was read; `outcome` says what is over and why. Answers whether this was the
   * watchdog that did it.
   */
  async close({ cause, outcome, evidenceAt }: ByEvidence<IncidentEnd>): Promise<boolean> {
    if (!this.#open.has(cause)) return false
    const ageMs = this.#ageMs(evidenceAt)
    const isLast = await this.#store.closeIncident(cause, this.#channelsFor({ cause }), outcome, ageMs)
    if (isLast) this.#open.delete(cause)
    else await this.#learn(cause)
    return isLast
  }

  /** Tells people again of those that last; answers of how many this watchdog did. */
  async retell(): Promise<number> {
    let told = 0
    const at = momentOf(this.#clock)
    for (const { cause, times } of planRetellings(this.#read, this.#seenAt, at)) {
      if (await this.#store.retellIncident(cause, times, this.#channelsFor({ cause }))) told += 1
    }
    return told
  }

  /** That a channel fails is told by the others. */
  #channelsFor({ cause }: Pick<Incident, 'cause'>): readonly string[] {
    const failing = failingChannel({ cause })
    return this.#channels.filter((channel) => channel !== failing)
  }

  async #add({ evidenceAt, ...incident }: ByEvidence<NewIncident>, channels: readonly string[]): Promise<boolean> {
    const isFirst = await this.#store.openIncident(incident, channels, this.#ageMs(evidenceAt))
    const { now, wall } = momentOf(this.#clock)
    if (isFirst) this.#open.set(incident.cause, { ...incident, openedAt: wall, seenAt: now })
    else await this.#learn(incident.cause)
    return isFirst
  }

  #ageMs(moment: Moment): number {
    return Math.max(0, elapsedMs(moment, this.#clock))
  }

  /** Another watchdog was first, or knew more. */
  async #learn(cause: string): Promise<void> {
    const open = (await this.#store.incidents({ open: true })).find((each) => each.cause === cause)
    const known = this.#open.get(cause)
    if (open === undefined) this.#open.delete(cause)
    else if (known === undefined || known.openedAt < open.openedAt)
      this.#open.set(cause, { ...open, seenAt: this.#clock.now() })
  }
}
