import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { RUNGS, type Rung } from '#fleet/wake-ladder.ts'
import { ConfigError, demand, type Env, type ReadSettings, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import { type Command, commandLine } from '#runtime/run-command.ts'
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
  readonly wakeWebhook: { readonly url: URL; readonly tokenFile: string | null } | null
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
    wakeWebhook: webhookOf(values),
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

function webhookOf({
  S2_WAKE_WEBHOOK: address,
  S2_WAKE_WEBHOOK_TOKEN_FILE: tokenFile,
}: WakeSettings): Config['wakeWebhook'] {
  if (address === undefined) return null
  const url = new URL(address)
  if (url.protocol === 'http:' && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)) {
    throw new ConfigError([
      'S2_WAKE_WEBHOOK=… must be https, or http on this host; for example https://wake.example.org/s2',
    ])
  }
  return { url, tokenFile: tokenFile ?? null }
}

function wakeLine(line: string): Command['argv'] {
  try {
    return commandLine(line)
  } catch (error) {
    throw new ConfigError([`S2_WAKE ${(error as Error).message}; for example S2_WAKE=["notify-send","mail"]`])
  }
}

/** What of our settings the command may have: where to ask for the mail. The others are ours, and some are secrets. */
const HANDED_ON = ['S2_STATE', 'S2_STORE']
/** What the service manager tells this program, and nobody else (sd_notify(3), sd_listen_fds(3)). */
const OWN = /^(S2_.*|NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_(FDS|PID|FDNAMES))$/

function handedOn(env: Env): Env {
  return Object.fromEntries(Object.entries(env).filter(([name]) => HANDED_ON.includes(name) || !OWN.test(name)))
}
