import { join } from 'node:path'
import type { BridgeAccess } from '#fleet/credential.ts'
import { identityFile } from '#identity/identity-file.ts'
import { bridgeAccessOf } from '#issuing/bridge-access.ts'
import { CronSchedule } from '#runtime/cron-schedule.ts'
import { ConfigError, type Env, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import type { HeadAddress } from '#runtime/setting-parsers.ts'

export interface Config extends LifeConfig {
  /** The keys of this host. */
  readonly identity: string
  /** Overrides what the invitation said; null: as it said. */
  readonly remote: string | null
  readonly branch: string | null
  /** The bare repository that mirrors the branch. */
  readonly mirror: string
  readonly pollMs: number
  readonly gitTimeoutMs: number
  /** Whether requests may leave this machine by plain http. */
  readonly allowsPlain: boolean
  /** The worker whose plain file of the older scripts is read; null: none is. */
  readonly plainWorker: number | null
  /** Null: this host fetches a credential instead of issuing them. */
  readonly issuer: IssuerSettings | null
}

export interface IssuerSettings {
  readonly store: string
  readonly lifetimeMs: number
  /** Where signed heads of the audit chain are kept off this machine. */
  readonly auditHeads: readonly HeadAddress[]
  /** When all tokens are made anew, beside at half of their life. */
  readonly schedule: CronSchedule
  access(): Promise<BridgeAccess>
}

export function readConfig(env: Env): Config {
  const values = readSettings(env, [
    'S2_STATE',
    'S2_LOG_LEVEL',
    'S2_HEALTH',
    'S2_DRAIN',
    'S2_IDENTITY',
    'S2_GIT_REMOTE',
    'S2_GIT_BRANCH',
    'S2_GIT_POLL',
    'S2_GIT_TIMEOUT',
    'S2_WORKER',
    'S2_ALLOW_PLAINTEXT_CREDENTIALS',
    'S2_ALLOW_PLAIN_HTTP',
    'S2_ISSUER',
    'S2_STORE',
    'S2_BRIDGE_URL',
    'S2_TLS_CA',
    'S2_TLS_CERT',
    'S2_LIFETIME',
    'S2_ROTATE',
    'S2_AUDIT_HEADS',
  ])
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    identity: values.S2_IDENTITY ?? identityFile(values.S2_STATE),
    remote: values.S2_GIT_REMOTE ?? null,
    branch: env.S2_GIT_BRANCH === undefined ? null : values.S2_GIT_BRANCH,
    mirror: join(values.S2_STATE, 'git'),
    pollMs: values.S2_GIT_POLL,
    gitTimeoutMs: values.S2_GIT_TIMEOUT,
    allowsPlain: values.S2_ALLOW_PLAIN_HTTP,
    plainWorker: values.S2_ALLOW_PLAINTEXT_CREDENTIALS ? plainWorkerOf(values) : null,
    issuer: values.S2_ISSUER
      ? {
          store: values.S2_STORE ?? `unix:${join(values.S2_STATE, 'run', 'admin.sock')}`,
          lifetimeMs: values.S2_LIFETIME,
          auditHeads: values.S2_AUDIT_HEADS,
          schedule: scheduleOf(values.S2_ROTATE),
          access: () => bridgeAccessOf(values),
        }
      : null,
  })
}

function plainWorkerOf(values: {
  readonly S2_WORKER: number | undefined
  readonly S2_GIT_REMOTE: string | undefined
}): number {
  if (values.S2_WORKER !== undefined && values.S2_GIT_REMOTE !== undefined) return values.S2_WORKER
  throw new ConfigError([
    'S2_ALLOW_PLAINTEXT_CREDENTIALS=yes needs S2_WORKER and S2_GIT_REMOTE: they say which plain file is read',
  ])
}

function scheduleOf(line: string): CronSchedule {
  try {
    return new CronSchedule(line)
  } catch (error) {
    throw new ConfigError([`S2_ROTATE=${line} ${(error as Error).message}`])
  }
}
