import { randomBytes } from 'node:crypto'
import {
  type AuditEntry,
  type AuditedAct,
  auditHash,
  CHAIN_START,
  canonicalJson,
  cleanAct,
  subjectOf,
} from '#fleet/audit.ts'
import type { AuditHead } from '#fleet/audit-head.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import { currentRequest, latencyOf } from '../request-context.ts'

/** The audit chain, in memory. */
export class MemoryAuditChain {
  readonly #clock: Clock
  readonly #store = randomBytes(8).toString('hex')
  readonly #entries: AuditEntry[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  append(act: AuditedAct): void {
    const request = currentRequest()
    const entry = {
      version: 2 as const,
      seq: this.#entries.length + 1,
      at: this.#clock.wall(),
      actor: act.actor,
      action: act.action,
      what: subjectOf(act),
      result: act.result ?? 'done',
      latencyMs: request === undefined ? null : latencyOf(request, this.#clock.now()),
      request: request?.id ?? null,
    }
    const detailsJson = redact(canonicalJson(act.details))
    const hash = auditHash((this.#entries.at(-1) ?? CHAIN_START).hash, { ...entry, detailsJson })
    const details = JSON.parse(detailsJson, (_name, value: unknown) => Object.freeze(value))
    this.#entries.push(Object.freeze({ ...entry, details, hash }))
  }

  record(act: AuditedAct): void {
    this.append(cleanAct(act))
  }

  audit(after: number, limit: number): AuditEntry[] {
    const from = Math.max(0, after)
    return this.#entries.slice(from, from + limit)
  }

  auditHead(): AuditHead {
    const { seq, hash } = this.#entries.at(-1) ?? CHAIN_START
    return { store: this.#store, seq, hash, at: this.#clock.wall() }
  }
}
