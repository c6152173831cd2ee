import type { Alert, Incident, NewIncident } from '#fleet/incident.ts'
import type { Clock } from '#runtime/clock.ts'

interface Owed {
  readonly incident: number
  readonly event: Alert['event']
  readonly channel: string
  attempts: number
  dueAt: number
}

/** What went wrong, and what is still to be told of it, in memory. Ids are counted from 1. */
export class MemoryIncidents {
  readonly #clock: Clock
  readonly #all = new Map<number, Incident>()
  readonly #open = new Map<string, Incident>()
  #owed: Owed[] = []
  #lastId = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Null where its cause is open already. */
  open({ cause, kind, agent, summary }: NewIncident, channels: readonly string[]): Incident | null {
    if (this.#open.has(cause)) return null
    this.#lastId += 1
    const openedAt = this.#clock.wall()
    const incident = Object.freeze({ id: this.#lastId, cause, kind, agent, summary, openedAt, closedAt: null })
    this.#all.set(incident.id, incident)
    this.#open.set(cause, incident)
    this.#owe(incident.id, 'opened', channels)
    return incident
  }

  /** Null where none of this cause is open. */
  close(cause: string, channels: readonly string[]): Incident | null {
    const incident = this.#open.get(cause)
    if (incident === undefined) return null
    this.#open.delete(cause)
    this.#all.set(incident.id, Object.freeze({ ...incident, closedAt: this.#clock.wall() }))
    this.#owe(incident.id, 'closed', channels)
    return incident
  }

  list(open: boolean): Incident[] {
    return open ? [...this.#open.values()] : [...this.#all.values()]
  }

  /** Takes what is due; an incident's end is told on a channel only after its beginning was. */
  claim(channels: readonly string[], leaseMs: number): Alert[] {
    const now = this.#clock.wall()
    const due = this.#owed.filter((owed) => {
      return owed.dueAt <= now && channels.includes(owed.channel) && !this.#waitsForItsOpening(owed)
    })
    return due.flatMap((owed) => {
      const incident = this.#all.get(owed.incident)
      const { event, channel, attempts } = owed
      owed.attempts += 1
      owed.dueAt = now + leaseMs
      return incident === undefined ? [] : [Object.freeze({ incident, event, channel, attempts })]
    })
  }

  settle({ incident, event, channel }: Alert, outcome: 'told' | { readonly retryMs: number }): void {
    const isMeant = (owed: Owed): boolean => {
      return owed.incident === incident.id && owed.event === event && owed.channel === channel
    }
    if (outcome === 'told') {
      this.#owed = this.#owed.filter((owed) => !isMeant(owed))
      return
    }
    for (const owed of this.#owed) if (isMeant(owed)) owed.dueAt = this.#clock.wall() + outcome.retryMs
  }

  /** Forgets incidents that were closed before `time` and told; answers how many. */
  prune(time: number): number {
    const owed = new Set(this.#owed.map(({ incident }) => incident))
    let forgotten = 0
    for (const { id, closedAt } of [...this.#all.values()]) {
      if (closedAt === null || closedAt >= time || owed.has(id)) continue
      this.#all.delete(id)
      forgotten += 1
    }
    return forgotten
  }

  #owe(incident: number, event: Alert['event'], channels: readonly string[]): void {
    const dueAt = this.#clock.wall()
    for (const channel of new Set(channels)) this.#owed.push({ incident, event, channel, attempts: 0, dueAt })
  }

  #waitsForItsOpening({ incident, event, channel }: Owed): boolean {
    if (event === 'opened') return false
    return this.#owed.some((owed) => {
      return owed.event === 'opened' && owed.incident === incident && owed.channel === channel
    })
  }
}
