import type { AuditedAct } from '#fleet/audit.ts'
import { EVERY_CHANNEL, type NewIncident } from '#fleet/incident.ts'
import { isSessionId, type SessionId } from '#fleet/session-id.ts'
import { incidentChangeOf } from '#fleet/wake-acts.ts'

export interface RecordedActsParts {
  readonly chain: { record(act: AuditedAct): void }
  readonly incidents: {
    openIncident(incident: NewIncident, channels: readonly string[]): boolean
    closeIncident(cause: string, channels: readonly string[], outcome: string): boolean
  }
  readonly conversations: { endOf(session: SessionId): { readonly agent: string } | null }
}

/** Acts that are asked to be recorded, with what follows of them: a host that could not wake its agent tells people so. */
export class RecordedActs {
  readonly #parts: RecordedActsParts

  constructor(parts: RecordedActsParts) {
    this.#parts = parts
  }

  record(act: AuditedAct): void {
    const { chain, incidents, conversations } = this.#parts
    chain.record(act)
    if (!isSessionId(act.actor)) return
    const change = incidentChangeOf(act, conversations.endOf(act.actor)?.agent ?? act.actor)
    if (change === null) return
    if ('open' in change) incidents.openIncident(change.open, [EVERY_CHANNEL])
    else incidents.closeIncident(change.close, [EVERY_CHANNEL], change.outcome)
  }
}
