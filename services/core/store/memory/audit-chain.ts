import { AUDIT_ROOT, type AuditEntry, type AuditedAct, auditHash } from '#fleet/audit.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'

/** The audit chain, in memory. */
export class MemoryAuditChain {
  readonly #clock: Clock
  readonly #entries: AuditEntry[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  append({ actor, action, details }: AuditedAct): void {
    const seq = this.#entries.length + 1
    const at = this.#clock.wall()
    const previous = this.#entries.at(-1)?.hash ?? AUDIT_ROOT
    const json = redact(JSON.stringify(details))
    const hash = auditHash(previous, seq, at, actor, action, json)
    const kept = JSON.parse(json, (_name, value: unknown) => Object.freeze(value))
    this.#entries.push(Object.freeze({ seq, at, actor, action, details: kept, hash }))
  }

  audit(after: number, limit: number): AuditEntry[] {
    const from = Math.max(0, after)
    return this.#entries.slice(from, from + limit)
  }
}
