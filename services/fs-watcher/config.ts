import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { handedOn, type WebhookTarget, wakeLine, webhookTarget } from '#agents/wake/wake-settings.ts'
import { RUNGS, type Rung } from '#fleet/wake-ladder.ts'
import { ConfigError, demand, type Env, type ReadSettings, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import type { Command } from '#runtime/run-command.ts'
import { localStore } from '#runtime/settings.ts'

export interface Config extends LifeConfig {
  readonly source: 'database' | 'inbox'
  readonly storeUrl: string
  /** Agents and sessions that are woken from the database; none named: all ends `a`. */
  readonly wakeFor: readonly string[]
  /** The command that wakes an agent; null where there is none. */
  readonly wake: Pick<Command, 'argv' | 'env' | 'timeoutMs'> | null
  /** The rungs of the ladder; null: the command alone wakes, and counts as soon as it has run. */
  readonly wakeBy: readonly Rung[] | null
  readonly wakeWebhook: WebhookTarget | null
  /** The environment for what is run to wake. */
  readonly env: Env
  readonly pollMs: number
}

export function readConfig(env: Env): Config {
  const values = readSettings(env, [
    'S2_STATE',
    'S2_STORE',
    'S2_LOG_LEVEL',
    'S2_HEALTH',
    'S2_DRAIN',
    'S2_SOURCE',
    'S2_WAKE',
    'S2_WAKE_TIMEOUT',
    'S2_WAKE_FOR',
    'S2_WAKE_BY',
    'S2_WAKE_WEBHOOK',
    'S2_WAKE_WEBHOOK_TOKEN_FILE',
    'S2_POLL',
  ])
  const storeUrl = values.S2_STORE ?? localStore(values.S2_STATE)
  if (values.S2_SOURCE === 'database' && /^https?:/.test(storeUrl)) {
    throw new ConfigError([
      `S2_STORE=${storeUrl} is no database of this host: watch the inbox instead, S2_SOURCE=inbox`,
    ])
  }
  const line = values.S2_WAKE
  const handed = handedOn(env)
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    source: values.S2_SOURCE,
    storeUrl,
    wakeFor: values.S2_WAKE_FOR,
    wake: line === undefined ? null : { argv: wakeLine(line), env: handed, timeoutMs: values.S2_WAKE_TIMEOUT },
    wakeBy: waysToWake(values),
    wakeWebhook: webhookTarget(values),
    env: handed,
    pollMs: values.S2_POLL,
  })
}

type WakeSettings = ReadSettings<
  'S2_STATE' | 'S2_WAKE' | 'S2_WAKE_BY' | 'S2_WAKE_WEBHOOK' | 'S2_WAKE_WEBHOOK_TOKEN_FILE'
>

/** Throws ConfigError where nothing could wake an agent: no command is set, and no client has ever told of itself. */
function waysToWake(values: WakeSettings): readonly Rung[] | null {
  const { S2_WAKE: command, S2_WAKE_BY: named, S2_STATE: state } = values
  if (named === undefined && command !== undefined) return null
  if (named === undefined && values.S2_WAKE_WEBHOOK === undefined && !existsSync(join(state, 'agents'))) {
    demand(
      'S2_WAKE',
      command,
      'it is the command that wakes the agent; s2 hooks install lets clients be woken without one',
    )
  }
  if (named?.includes('exec') === true) demand('S2_WAKE', command, 'it is the command of S2_WAKE_BY=exec')
  if (named?.includes('webhook') === true) demand('S2_WAKE_WEBHOOK', values.S2_WAKE_WEBHOOK, 'S2_WAKE_BY names it')
  return named ?? RUNGS.filter((rung) => rung !== 'resume' && rung !== 'exec')
}
