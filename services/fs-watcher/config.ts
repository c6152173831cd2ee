import { ConfigError, demand, type Env, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import { type Command, commandLine } from '#runtime/run-command.ts'
import { localStore } from '#runtime/settings.ts'

export interface Config extends LifeConfig {
  readonly source: 'database' | 'inbox'
  readonly storeUrl: string
  /** Agents and sessions that are woken from the database; none named: all ends `a`. */
  readonly wakeFor: readonly string[]
  /** What wakes an agent. */
  readonly wake: Pick<Command, 'argv' | 'env' | 'timeoutMs'>
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
    'S2_POLL',
  ])
  const storeUrl = values.S2_STORE ?? localStore(values.S2_STATE)
  if (values.S2_SOURCE === 'database' && /^https?:/.test(storeUrl)) {
    throw new ConfigError([
      `S2_STORE=${storeUrl} is no database of this host: watch the inbox instead, S2_SOURCE=inbox`,
    ])
  }
  const line = demand('S2_WAKE', values.S2_WAKE, 'it is the command that wakes the agent')
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    source: values.S2_SOURCE,
    storeUrl,
    wakeFor: values.S2_WAKE_FOR,
    wake: { argv: wakeLine(line), env: handedOn(env), timeoutMs: values.S2_WAKE_TIMEOUT },
    pollMs: values.S2_POLL,
  })
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
