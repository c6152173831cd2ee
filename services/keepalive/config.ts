import { type Env, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import type { SessionManagerConfig } from './session-manager.ts'

export interface Config extends LifeConfig, SessionManagerConfig {
  /** How long a task stays with an agent that does not renew it. */
  readonly leaseMs: number
  /** How long a message stays with an agent that took it and does not ack it. */
  readonly messageLeaseMs: number
  /** Whether plain http may leave this machine. */
  readonly allowsPlain: boolean
}

export function readConfig(env: Env): Config {
  const values = readSettings(env, [
    'S2_STATE',
    'S2_LOG_LEVEL',
    'S2_HEALTH',
    'S2_DRAIN',
    'S2_HOST',
    'S2_BEAT',
    'S2_BEAT_POLLING',
    'S2_POLL',
    'S2_LEASE',
    'S2_MESSAGE_LEASE',
    'S2_ALLOW_PLAIN_HTTP',
  ])
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    host: values.S2_HOST,
    beatMs: values.S2_BEAT,
    beatPollingMs: Math.max(values.S2_BEAT, values.S2_BEAT_POLLING),
    pollMs: values.S2_POLL,
    leaseMs: values.S2_LEASE,
    messageLeaseMs: values.S2_MESSAGE_LEASE,
    allowsPlain: values.S2_ALLOW_PLAIN_HTTP,
  })
}
