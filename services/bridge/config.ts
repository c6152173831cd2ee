import { isIP } from 'node:net'
import { join } from 'node:path'
import type { PeerRule } from '#fleet/peer-messages.ts'
import { CronSchedule } from '#runtime/cron-schedule.ts'
import { ConfigError, type Env, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import type { Address } from '#runtime/setting-parsers.ts'
import { localStore } from '#runtime/settings.ts'
import type { CertificatePaths } from './tls-certificate.ts'

export interface Config extends LifeConfig {
  readonly store: string
  readonly listen: Address
  readonly tls: CertificatePaths | null
  /** The administration socket. */
  readonly admin: string
  readonly allowedHosts: readonly string[]
  readonly allowedOrigins: readonly string[]
  readonly requestsPerMinute: number
  /** Which agents a worker may write to beside its orchestrator. */
  readonly peers: PeerRule
  /** Whether `/mcp` is answered. */
  readonly speaksMcp: boolean
  readonly bodyMax: number
  readonly lifetimeMs: number
  readonly housekeeping: CronSchedule
  readonly keepMs: number
}

export function readConfig(env: Env): Config {
  const values = readSettings(env, [
    'S2_STATE',
    'S2_LOG_LEVEL',
    'S2_HEALTH',
    'S2_DRAIN',
    'S2_STORE',
    'S2_LISTEN',
    'S2_TLS_CERT',
    'S2_TLS_KEY',
    'S2_TLS_CA',
    'S2_BEHIND_PROXY',
    'S2_ALLOWED_HOSTS',
    'S2_ALLOWED_ORIGINS',
    'S2_RATE',
    'S2_PEER_MESSAGES',
    'S2_MCP',
    'S2_BODY_MAX',
    'S2_LIFETIME',
    'S2_HOUSEKEEPING',
    'S2_KEEP',
  ])
  const cert = values.S2_TLS_CERT
  const key = values.S2_TLS_KEY
  const faults: string[] = []
  if ((cert === undefined) !== (key === undefined)) {
    const [missing, other] = cert === undefined ? ['S2_TLS_CERT', 'S2_TLS_KEY'] : ['S2_TLS_KEY', 'S2_TLS_CERT']
    faults.push(`${missing} is missing: ${other} is of no use without it`)
  }
  if (cert === undefined && !values.S2_BEHIND_PROXY && !isLocal(values.S2_LISTEN)) {
    faults.push(
      `S2_LISTEN is reachable from other machines, where requests must not be readable: set S2_TLS_CERT and S2_TLS_KEY, or S2_BEHIND_PROXY=yes when a proxy that speaks TLS stands in front; or listen on 127.0.0.1`,
    )
  }
  const housekeeping = readCalendar(values.S2_HOUSEKEEPING, faults)
  if (faults.length > 0 || housekeeping === null) throw new ConfigError(faults)
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    store: values.S2_STORE ?? localStore(values.S2_STATE),
    listen: values.S2_LISTEN,
    tls: cert === undefined || key === undefined ? null : { cert, key, ca: values.S2_TLS_CA ?? null },
    admin: join(values.S2_STATE, 'run', 'admin.sock'),
    allowedHosts: values.S2_ALLOWED_HOSTS.map((each) => each.toLowerCase()),
    allowedOrigins: values.S2_ALLOWED_ORIGINS.map((each) => each.toLowerCase()),
    requestsPerMinute: values.S2_RATE,
    peers: values.S2_PEER_MESSAGES,
    speaksMcp: values.S2_MCP,
    bodyMax: values.S2_BODY_MAX,
    lifetimeMs: values.S2_LIFETIME,
    housekeeping,
    keepMs: values.S2_KEEP,
  })
}

function readCalendar(line: string, faults: string[]): CronSchedule | null {
  try {
    return new CronSchedule(line)
  } catch (error) {
    faults.push(`S2_HOUSEKEEPING=${JSON.stringify(line)} ${(error as Error).message}; for example 17 3 * * *`)
    return null
  }
}

/** Whether only this machine can reach an address. */
function isLocal(address: Address): boolean {
  return 'path' in address || isLoopback(address.host)
}

/** Whether a host is this machine's loopback; a name that only resolves to it is not. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
