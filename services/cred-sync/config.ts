import { join } from 'node:path'
import { demand, type Env, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'

export interface Config extends LifeConfig {
  readonly remote: string
  readonly branch: string
  /** The bare repository that mirrors the branch. */
  readonly mirror: string
  readonly worker: number
  readonly pollMs: number
  readonly gitTimeoutMs: number
}

export function readConfig(env: Env): Config {
  const values = readSettings(env, [
    'S2_STATE',
    'S2_LOG_LEVEL',
    'S2_HEALTH',
    'S2_DRAIN',
    'S2_GIT_REMOTE',
    'S2_GIT_BRANCH',
    'S2_GIT_POLL',
    'S2_GIT_TIMEOUT',
    'S2_WORKER',
  ])
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    remote: demand('S2_GIT_REMOTE', values.S2_GIT_REMOTE, 'credentials come from a git remote'),
    branch: values.S2_GIT_BRANCH,
    mirror: join(values.S2_STATE, 'git'),
    worker: demand('S2_WORKER', values.S2_WORKER, 'it says whose credential is taken'),
    pollMs: values.S2_GIT_POLL,
    gitTimeoutMs: values.S2_GIT_TIMEOUT,
  })
}
