import { type Alert, EVERY_CHANNEL, type Incident, isEvent, isOutrun, type NewIncident } from '#fleet/incident.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { AuditChainTable } from './audit-chain.ts'

type AlertRow = Incident & Pick<Alert, 'event' | 'channel' | 'attempts'>

const COLUMNS =
  'i.id, i.cause, i.kind, i.agent, i.summary, i.opened_at AS openedAt, i.closed_at AS closedAt, i.outcome, i.retold'

/** Incidents, one row a cause, and alerts that are still to be sent, one row a channel. */
export class IncidentTable {
  readonly #connection: SqliteConnection
  readonly #chain: AuditChainTable
  readonly #clock: Clock

  constructor(connection: SqliteConnection, chain: AuditChainTable, clock: Clock) {
    this.#connection = connection
    this.#chain = chain
    this.#clock = clock
  }

  openIncident(
    { cause, kind, agent, summary }: NewIncident,
    channels: readonly string[],
    ageMs: number | null = null,
  ): boolean {
    if (this.#openOf(cause) !== undefined || (isEvent({ kind }) && this.#has(cause))) return false
    const now = this.#clock.wall()
    if (ageMs !== null && isOutrun(this.#closedAt(cause), now, ageMs)) return false
    const id = this.#connection.insert(
      'INSERT INTO s2_incidents (cause, kind, agent, summary, opened_at, closed_at) VALUES (?, ?, ?, ?, ?, ?)',
      cause,
      kind,
      agent,
      redact(summary),
      now,
      isEvent({ kind }) ? now : null,
    )
    this.#queue(id, 'opened', channels)
    this.#chain.append({ actor: 'watchdog', action: 'incident_opened', details: { incident: id, cause, kind, agent } })
    return true
  }

  closeIncident(
    cause: string,
    channels: readonly string[],
    outcome: string | null = null,
    ageMs: number | null = null,
  ): boolean {
    const open = this.#openOf(cause)
    const now = this.#clock.wall()
    if (open === undefined || (ageMs !== null && isOutrun(open.openedAt, now, ageMs))) return false
    const { id } = open
    this.#connection.run(
      'UPDATE s2_incidents SET closed_at = ?, outcome = ? WHERE id = ?',
      now,
      outcome === null ? null : redact(outcome),
      id,
    )
    this.#connection.run("DELETE FROM s2_alerts WHERE incident = ? AND event = 'lasting'", id)
    this.#queue(id, 'closed', channels)
    this.#chain.append({ actor: 'watchdog', action: 'incident_closed', details: { incident: id, cause } })
    return true
  }

  retellIncident(cause: string, times: number, channels: readonly string[]): boolean {
    const id = this.#openOf(cause)?.id
    if (id === undefined) return false
    const told = this.#connection.run(
      'UPDATE s2_incidents SET retold = ? WHERE id = ? AND retold < ?',
      times,
      id,
      times,
    )
    if (told === 0) return false
    this.#queue(id, 'lasting', channels)
    this.#chain.append({ actor: 'watchdog', action: 'incident_retold', details: { incident: id, cause, times } })
    return true
  }

  /** Keeps an incident that could not be kept while it lasted: people were told of it then. */
  noteEnded({ cause, kind, agent, summary }: NewIncident, openedAt: number, outcome: string): void {
    const id = this.#connection.insert(
      'INSERT INTO s2_incidents (cause, kind, agent, summary, opened_at, closed_at, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)',
      cause,
      kind,
      agent,
      redact(summary),
      openedAt,
      this.#clock.wall(),
      redact(outcome),
    )
    this.#chain.append({ actor: 'bridge', action: 'incident_ended', details: { incident: id, cause, kind, outcome } })
  }

  incidents({ open }: { readonly open: boolean }): Incident[] {
    const where = open ? 'WHERE i.closed_at IS NULL' : ''
    return this.#connection.all<Incident>(`SELECT ${COLUMNS} FROM s2_incidents i ${where} ORDER BY i.id`)
  }

  /** Claims the alerts that are due; a channel gets an incident's end only after its beginning. */
  claimAlerts(channels: readonly string[], leaseMs: number, all: readonly string[] = channels): Alert[] {
    this.#spread(all)
    const now = this.#clock.wall()
    this.#followClock(now)
    const due = this.#connection.all<AlertRow>(
      `SELECT ${COLUMNS}, a.event, a.channel, a.attempts FROM s2_alerts a JOIN s2_incidents i ON i.id = a.incident
        WHERE a.due_at <= ? AND a.channel IN (SELECT value FROM json_each(?))
          AND (a.event = 'opened' OR NOT EXISTS (
            SELECT 1 FROM s2_alerts b WHERE b.incident = a.incident AND b.channel = a.channel AND b.event = 'opened'))
        ORDER BY a.incident, a.event DESC`,
      now,
      JSON.stringify(channels),
    )
    for (const { id, event, channel } of due) {
      this.#connection.run(
        'UPDATE s2_alerts SET set_at = ?, due_at = ?, attempts = attempts + 1 WHERE incident = ? AND event = ? AND channel = ?',
        now,
        now + Math.round(leaseMs),
        id,
        event,
        channel,
      )
    }
    return due.map(({ event, channel, attempts, ...incident }) => ({ incident, event, channel, attempts }))
  }

  settleAlert({ incident, event, channel }: Alert, outcome: 'told' | { readonly retryMs: number }): void {
    if (outcome === 'told') {
      this.#connection.run(
        'DELETE FROM s2_alerts WHERE incident = ? AND event = ? AND channel = ?',
        incident.id,
        event,
        channel,
      )
      return
    }
    const now = this.#clock.wall()
    this.#connection.run(
      'UPDATE s2_alerts SET set_at = ?, due_at = ? WHERE incident = ? AND event = ? AND channel = ?',
      now,
      now + Math.round(outcome.retryMs),
      incident.id,
      event,
      channel,
    )
  }

  /** Forgets incidents that were closed before `time` and whose alerts were sent; answers how many. */
  prune(time: number): number {
    return this.#connection.run(
      `DELETE FROM s2_incidents WHERE closed_at < ?
        AND NOT EXISTS (SELECT 1 FROM s2_alerts a WHERE a.incident = s2_incidents.id)`,
      time,
    )
  }

  #openOf(cause: string): Pick<Incident, 'id' | 'openedAt'> | undefined {
    return this.#connection.get<Pick<Incident, 'id' | 'openedAt'>>(
      'SELECT id, opened_at AS openedAt FROM s2_incidents WHERE cause = ? AND closed_at IS NULL',
      cause,
    )
  }

  /** When the newest incident of this cause was closed; -Infinity where none was. */
  #closedAt(cause: string): number {
    const last = this.#connection.get<{ closedAt: number | null }>(
      'SELECT closed_at AS closedAt FROM s2_incidents WHERE cause = ? ORDER BY id DESC LIMIT 1',
      cause,
    )
    return last?.closedAt ?? Number.NEGATIVE_INFINITY
  }

  #has(cause: string): boolean {
    return this.#connection.get('SELECT 1 FROM s2_incidents WHERE cause = ? LIMIT 1', cause) !== undefined
  }

  /** What was to wait when the clock was put back waits so long again, from now: a claim still holds, and nothing waits for hours. */
  #followClock(now: number): void {
    this.#connection.run(
      'UPDATE s2_alerts SET due_at = ? + (due_at - set_at), set_at = ? WHERE set_at > ?',
      now,
      now,
      now,
    )
  }

  /** Alerts for every channel become alerts for each of these. */
  #spread(all: readonly string[]): void {
    const forEvery = this.#connection.all<{ incident: number; event: Alert['event'] }>(
      'SELECT incident, event FROM s2_alerts WHERE channel = ?',
      EVERY_CHANNEL,
    )
    if (forEvery.length === 0) return
    this.#connection.run('DELETE FROM s2_alerts WHERE channel = ?', EVERY_CHANNEL)
    for (const { incident, event } of forEvery) this.#queue(incident, event, all)
  }

  #queue(incident: number, event: Alert['event'], channels: readonly string[]): void {
    const now = this.#clock.wall()
    for (const channel of channels) {
      this.#connection.run(
        'INSERT OR IGNORE INTO s2_alerts (incident, event, channel, set_at, due_at) VALUES (?, ?, ?, ?, ?)',
        incident,
        event,
        channel,
        now,
        now,
      )
    }
  }
}
