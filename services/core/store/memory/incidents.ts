import type { AuditedAct } from '#fleet/audit.ts'
import { type Alert, EVERY_CHANNEL, type Incident, isEvent, isOutrun, type NewIncident } from '#fleet/incident.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import type { MemoryAuditChain } from './audit-chain.ts'

/** An alert that is still to be sent. */
interface QueuedAlert {
  readonly incident: number
  readonly event: Alert['event']
  readonly channel: string
  attempts: number
  /** When `dueAt` was set: where the clock shows an earlier time, it was put back since. */
  setAt: number
  dueAt: number
}

/** Incidents, and alerts that are still to be sent, in memory. Ids are counted from 1. */
export class MemoryIncidents {
  readonly #chain: MemoryAuditChain
  readonly #clock: Clock
  readonly #all = new Map<number, Incident>()
  readonly #open = new Map<string, Incident>()
  /** Causes of events, which are not opened again. */
  readonly #events = new Set<string>()
  /** When causes were closed last. */
  readonly #closedAt = new Map<string, number>()
  #alerts: QueuedAlert[] = []
  #lastId = 0

  constructor(chain: MemoryAuditChain, clock: Clock) {
    this.#chain = chain
    this.#clock = clock
  }

  openIncident(
    { cause, kind, agent, summary: text }: NewIncident,
    channels: readonly string[],
    ageMs: number | null = null,
  ): boolean {
    if (this.#open.has(cause) || this.#events.has(cause)) return false
    const openedAt = this.#clock.wall()
    const closedAt = this.#closedAt.get(cause)
    if (ageMs !== null && closedAt !== undefined && isOutrun(closedAt, openedAt, ageMs)) return false
    const summary = redact(text)
    this.#lastId += 1
    const incident: Incident = Object.freeze({
      id: this.#lastId,
      cause,
      kind,
      agent,
      summary,
      openedAt,
      closedAt: isEvent({ kind }) ? openedAt : null,
      outcome: null,
      retold: 0,
    })
    this.#all.set(incident.id, incident)
    if (incident.closedAt === null) this.#open.set(cause, incident)
    else this.#events.add(cause)
    this.#queue(incident.id, 'opened', channels)
    this.#audit('incident_opened', { incident: incident.id, cause, kind, agent })
    return true
  }

  closeIncident(
    cause: string,
    channels: readonly string[],
    said: string | null = null,
    ageMs: number | null = null,
  ): boolean {
    const incident = this.#open.get(cause)
    const closedAt = this.#clock.wall()
    if (incident === undefined || (ageMs !== null && isOutrun(incident.openedAt, closedAt, ageMs))) return false
    this.#open.delete(cause)
    this.#closedAt.set(cause, closedAt)
    const outcome = said === null ? null : redact(said)
    this.#all.set(incident.id, Object.freeze({ ...incident, closedAt, outcome }))
    this.#alerts = this.#alerts.filter((alert) => alert.incident !== incident.id || alert.event !== 'lasting')
    this.#queue(incident.id, 'closed', channels)
    this.#audit('incident_closed', { incident: incident.id, cause })
    return true
  }

  retellIncident(cause: string, times: number, channels: readonly string[]): boolean {
    const before = this.#open.get(cause)
    if (before === undefined || before.retold >= times) return false
    const incident = Object.freeze({ ...before, retold: times })
    this.#all.set(incident.id, incident)
    this.#open.set(cause, incident)
    this.#queue(incident.id, 'lasting', channels)
    this.#audit('incident_retold', { incident: incident.id, cause, times })
    return true
  }

  incidents({ open }: { readonly open: boolean }): Incident[] {
    return open ? [...this.#open.values()] : [...this.#all.values()]
  }

  /** Claims the alerts that are due; a channel gets an incident's end only after its beginning. */
  claimAlerts(channels: readonly string[], leaseMs: number, all: readonly string[] = channels): Alert[] {
    this.#spread(all)
    const now = this.#clock.wall()
    this.#followClock(now)
    const due = this.#alerts.filter((alert) => {
      return alert.dueAt <= now && channels.includes(alert.channel) && !this.#waitsForItsOpening(alert)
    })
    return due.flatMap((alert) => {
      const incident = this.#all.get(alert.incident)
      const { event, channel, attempts } = alert
      alert.attempts += 1
      alert.setAt = now
      alert.dueAt = now + leaseMs
      return incident === undefined ? [] : [Object.freeze({ incident, event, channel, attempts })]
    })
  }

  settleAlert({ incident, event, channel }: Alert, outcome: 'told' | { readonly retryMs: number }): void {
    const isMeant = (alert: QueuedAlert): boolean => {
      return alert.incident === incident.id && alert.event === event && alert.channel === channel
    }
    if (outcome === 'told') {
      this.#alerts = this.#alerts.filter((alert) => !isMeant(alert))
      return
    }
    const now = this.#clock.wall()
    for (const alert of this.#alerts.filter(isMeant)) {
      alert.setAt = now
      alert.dueAt = now + outcome.retryMs
    }
  }

  /** Forgets incidents that were closed before `time` and whose alerts were sent; answers how many. */
  prune(time: number): number {
    const waiting = new Set(this.#alerts.map(({ incident }) => incident))
    let forgotten = 0
    for (const { id, cause, closedAt } of [...this.#all.values()]) {
      if (closedAt === null || closedAt >= time || waiting.has(id)) continue
      this.#all.delete(id)
      this.#events.delete(cause)
      if (this.#closedAt.get(cause) === closedAt) this.#closedAt.delete(cause)
      forgotten += 1
    }
    return forgotten
  }

  /** What was to wait when the clock was put back waits so long again, from now: a claim still holds, and nothing waits for hours. */
  #followClock(now: number): void {
    for (const alert of this.#alerts) {
      if (alert.setAt <= now) continue
      alert.dueAt = now + (alert.dueAt - alert.setAt)
      alert.setAt = now
    }
  }

  /** Alerts for every channel become alerts for each of these. */
  #spread(all: readonly string[]): void {
    const forEvery = this.#alerts.filter(({ channel }) => channel === EVERY_CHANNEL)
    if (forEvery.length === 0) return
    this.#alerts = this.#alerts.filter(({ channel }) => channel !== EVERY_CHANNEL)
    for (const { incident, event } of forEvery) this.#queue(incident, event, all)
  }

  #queue(incident: number, event: Alert['event'], channels: readonly string[]): void {
    const now = this.#clock.wall()
    for (const channel of channels) {
      const isQueued = this.#alerts.some((alert) => {
        return alert.incident === incident && alert.event === event && alert.channel === channel
      })
      if (!isQueued) this.#alerts.push({ incident, event, channel, attempts: 0, setAt: now, dueAt: now })
    }
  }

  #audit(action: string, details: AuditedAct['details']): void {
    this.#chain.append({ actor: 'watchdog', action, details })
  }

  #waitsForItsOpening({ incident, event, channel }: QueuedAlert): boolean {
    if (event === 'opened') return false
    return this.#alerts.some((alert) => {
      return alert.event === 'opened' && alert.incident === incident && alert.channel === channel
    })
  }
}
