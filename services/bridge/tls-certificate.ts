import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import { createSecureContext } from 'node:tls'
import {
  type CertificateFacts,
  isSignedBy,
  readCertificateFacts,
  readCertificates,
  troubleWith,
} from '#fleet/certificate-parser.ts'
import { CERTIFICATE_CAUSES, type CertificateKind, certificateIncident, EVERY_CHANNEL } from '#fleet/incident.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Health } from '#runtime/health.ts'
import type { Log } from '#runtime/log.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import type { Store } from '#store/store.ts'

export interface ServerCertificate {
  readonly cert: string
  readonly key: string
  readonly facts: CertificateFacts
}

export interface CertificatePaths {
  readonly cert: string
  readonly key: string
  /** The authority that goes into the credentials of workers; null where they know it. */
  readonly ca: string | null
}

/** Reads a certificate and its key, and checks that they can be used together. Throws `ConfigError`. */
export async function readCertificate(paths: CertificatePaths): Promise<ServerCertificate> {
  const [cert, key] = await Promise.all([readPem('S2_TLS_CERT', paths.cert), readPem('S2_TLS_KEY', paths.key)])
  try {
    createSecureContext({ cert, key })
    return { cert, key, facts: readCertificateFacts(cert) }
  } catch (error) {
    throw new ConfigError([
      `S2_TLS_CERT=${paths.cert} and S2_TLS_KEY=${paths.key} cannot be used together: ${(error as Error).message}`,
    ])
  }
}

async function readPem(setting: string, path: string): Promise<string> {
  let pem: string
  try {
    pem = await readNamedFile(path)
  } catch (error) {
    throw new ConfigError([`${setting}=${path} cannot be read (${(error as NodeJS.ErrnoException).code})`])
  }
  if (!pem.includes('-----BEGIN ')) throw new ConfigError([`${setting}=${path} is not a PEM file`])
  return pem
}

export interface CertificateWatchParts {
  readonly clock: Clock
  readonly log: Log
  readonly health: Pick<Health, 'trouble'>
  readonly store: Pick<Store, 'openIncident' | 'closeIncident'>
}

const LOOK_MS = 10_000
/** Certificate and key are never replaced at one instant: where they do not fit they are read again before it counts. */
const AGAIN_MS = 5_000
/** For a certificate whose authority is not the one that workers are given. */
const REISSUE = 'set S2_TLS_CA to the authority that signed it, then s2 credential rotate for each worker'
const RENEW = 'renew it by s2 keys tls, or by the means it came from'

interface Trouble {
  readonly kind: CertificateKind
  readonly why: string
}

/**
 * Watches the certificate of a server: puts one that was renewed on disk in force, and reports what is wrong with it, by
 * health and by an incident, until that is mended. Files that cannot be used change nothing.
 */
export class CertificateWatch {
  readonly #server: Server
  readonly #paths: CertificatePaths
  readonly #parts: CertificateWatchParts
  #inForce: ServerCertificate
  #failures = 0
  #trouble: Trouble | null = null
  /** The trouble that the incidents in the store tell of; undefined before the first look. */
  #reported: CertificateKind | null | undefined

  constructor(server: Server, paths: CertificatePaths, inForce: ServerCertificate, parts: CertificateWatchParts) {
    this.#server = server
    this.#paths = paths
    this.#inForce = inForce
    this.#parts = parts
  }

  /** What people should know of it although all still works; null when there is nothing. */
  get warning(): string | null {
    return this.#trouble === null || isGrave(this.#trouble) ? null : this.#trouble.why
  }

  /** Answers milliseconds until the next look. */
  async look(): Promise<number> {
    const fault = await this.#takeOver()
    this.#failures = fault === null ? 0 : this.#failures + 1
    if (this.#failures === 1) return AGAIN_MS
    this.#trouble = fault === null ? await this.#judge() : { kind: 'unusable', why: fault }
    this.#parts.health.trouble(
      'certificate',
      this.#trouble !== null && isGrave(this.#trouble) ? this.#trouble.why : null,
    )
    await this.#report()
    return LOOK_MS
  }

  /** Puts what is new on disk in force; answers why it cannot. */
  async #takeOver(): Promise<string | null> {
    const { log } = this.#parts
    let fresh: ServerCertificate
    try {
      fresh = await readCertificate(this.#paths)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return `the certificate on disk cannot be used, so the earlier one stays in force: ${error.faults.join('; ')}`
    }
    if (fresh.cert === this.#inForce.cert && fresh.key === this.#inForce.key) return null
    ;(this.#server as TlsServer).setSecureContext({ cert: fresh.cert, key: fresh.key })
    this.#inForce = fresh
    log.info('certificate renewed', { until: new Date(fresh.facts.notAfter).toISOString() })
    return null
  }

  async #judge(): Promise<Trouble | null> {
    const { cert, ca } = this.#paths
    const what = `the bridge’s certificate (S2_TLS_CERT=${cert})`
    const trouble = troubleWith(this.#inForce.facts, this.#parts.clock.wall())
    if (trouble !== null) {
      const { kind, why } = trouble
      const effect = kind === 'expires soon' ? '' : ': no worker gets through'
      return {
        kind,
        why: `${what} ${why}${effect}; ${kind === 'not yet valid' ? 'set the clock of this host' : RENEW}`,
      }
    }
    const fault = ca === null ? null : await this.#faultOfAuthority(ca)
    return fault === null
      ? null
      : { kind: 'foreign', why: `${what} ${fault}: workers with newer credentials refuse it; ${REISSUE}` }
  }

  /** Workers trust what S2_TLS_CA names, and nothing else. */
  async #faultOfAuthority(ca: string): Promise<string | null> {
    try {
      const authorities = readCertificates(await readPem('S2_TLS_CA', ca))
      const chain = readCertificates(this.#inForce.cert)
      const isTrusted = chain.some((each) => isSignedBy(each, authorities))
      return isTrusted ? null : `was not signed by the authority in S2_TLS_CA=${ca}`
    } catch (error) {
      return `may be one that S2_TLS_CA=${ca} has not signed (${error instanceof ConfigError ? error.faults.join() : (error as Error).message})`
    }
  }

  /** Opens and closes incidents as the trouble wants it. An incident that is open already is not told again. */
  async #report(): Promise<void> {
    const { store, log } = this.#parts
    const trouble = this.#trouble
    const kind = trouble?.kind ?? null
    if (kind === this.#reported) return
    const wanted = trouble === null ? null : certificateIncident(trouble.kind, trouble.why)
    if (trouble !== null) log.warn('certificate trouble', { why: trouble.why })
    if (wanted !== null) await store.openIncident(wanted, [EVERY_CHANNEL])
    const outcome = wanted === null ? 'the bridge’s certificate is in order' : `this changed: ${wanted.summary}`
    await closeCertificateIncidents(this.#parts, outcome, wanted?.cause)
    this.#reported = kind
  }
}

/** Closes the incidents about a certificate, except one cause. */
export async function closeCertificateIncidents(
  { store, log }: Pick<CertificateWatchParts, 'store' | 'log'>,
  outcome: string,
  save?: string,
): Promise<void> {
  for (const cause of CERTIFICATE_CAUSES) {
    if (cause !== save && (await store.closeIncident(cause, [EVERY_CHANNEL], outcome))) {
      log.info('certificate trouble over', { cause })
    }
  }
}

function isGrave({ kind }: Trouble): boolean {
  return kind !== 'expires soon' && kind !== 'foreign'
}
