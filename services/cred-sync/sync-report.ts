import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { type Clock, momentOf } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Metrics } from '#runtime/metrics.ts'
import { TroubleLog, type TroubleLogParts } from '#runtime/trouble-log.ts'

export interface SyncReportParts {
  readonly clock: Clock
  readonly log: Log
  readonly health: TroubleLogParts['health'] & { readonly metrics: Metrics }
}

/** Tells people how the looks at the remote went: by the log, by health and by metrics. */
export class SyncReport {
  readonly #parts: SyncReportParts
  readonly #troubles: TroubleLog
  readonly #metrics: ReturnType<typeof countersOf>
  /** When a look succeeded last, by the clock that never jumps and by the wall clock; the start of the program counts as one. */
  #lastGood: { readonly now: number; readonly wall: number }

  constructor(parts: SyncReportParts) {
    const { clock, health } = parts
    this.#parts = parts
    this.#troubles = new TroubleLog(parts)
    this.#metrics = countersOf(health.metrics)
    this.#lastGood = momentOf(clock)
    health.metrics.gauge(
      's2_cred_sync_age_seconds',
      'Time since the last good look.',
      () => (clock.now() - this.#lastGood.now) / 1000,
    )
  }

  /** For as long as the program runs: whoever reads the remote can use such a file. */
  warnOfPlainFiles(): void {
    const what =
      'credentials are read from plain files (S2_ALLOW_PLAINTEXT_CREDENTIALS): whoever reads the remote can act as this worker'
    this.#troubles.met('plain files', 'allowed', `${what}; let this host join by s2 worker join, then unset it`)
  }

  succeeded(): void {
    const { clock } = this.#parts
    this.#metrics.looks.add()
    this.#lastGood = momentOf(clock)
    this.#troubles.over('remote')
  }

  /** A credential is in force now, whatever else the look came to: another source may be wrong. */
  published({ session, agent, createdAt, expiresAt }: Credential): void {
    this.#metrics.published.add()
    const expiry = new Date(expiresAt).toISOString()
    this.#parts.log.info('credential published', { session, agent, serial: createdAt, expiresAt: expiry })
  }

  /** The credential in force stays, whatever the look failed for. */
  failed(error: unknown): void {
    this.#metrics.failures.add()
    const known = error instanceof S2Error ? error : new S2Error('internal', 'the look failed', { cause: error })
    const line = `${known.code}: ${known.message}`
    const since = new Date(this.#lastGood.wall).toISOString()
    const next = known.next === undefined ? '' : `; ${known.next}`
    this.#troubles.met('remote', line, `${line}; last good look at ${since}${next}`, known)
  }
}

function countersOf(metrics: Metrics) {
  return {
    looks: metrics.counter('s2_cred_sync_looks_total', 'Looks at the remote that succeeded.'),
    failures: metrics.counter('s2_cred_sync_failures_total', 'Looks at the remote that failed.'),
    published: metrics.counter('s2_cred_sync_published_total', 'Credentials published.'),
  }
}
