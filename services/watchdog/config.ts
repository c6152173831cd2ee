import { INCIDENT_KINDS, type IncidentKind } from '#fleet/incident.ts'
import type { StallActions } from '#fleet/task-clocks.ts'
import type { Fallback } from '#fleet/task-reassignment.ts'
import { formatDuration } from '#runtime/duration.ts'
import { ConfigError, type Env, readSettings } from '#runtime/read-settings.ts'
import type { LifeConfig } from '#runtime/run.ts'
import { type Command, commandLine } from '#runtime/run-command.ts'
import type { AgentUnits } from '#runtime/setting-parsers.ts'
import { localStore } from '#runtime/settings.ts'

/** What `watch` needs; a simulation gives it without a program around it. Durations are milliseconds. */
export interface WatchConfig {
  readonly lateAfterMs: number
  readonly silentAfterMs: number
  /** How often everything is read again, beside the exact deadlines. */
  readonly roundMs: number
  /** How often the beats are read. */
  readonly watchMs: number
  readonly leaseMs: number
  /** In this time the tasks of one failed agent are moved, and those of no other. */
  readonly moveEveryMs: number
  /** A task that no agent can take is told of after so long. */
  readonly pendingAfterMs: number
  /** A task that its idle holder has not taken by then goes to another. */
  readonly takeWithinMs: number
  /** A task without a sign of work for so long is told of; after twice that, `onStall`. */
  readonly stallAfterMs: number
  readonly onStall: StallActions
  /** After so many attempts a task has failed. */
  readonly attemptsMax: number
  readonly fallback: Fallback
  /** How long a dead agent stays so before what it ran in is started again, and how often that may be within an hour. */
  readonly restartAfterMs: number
  readonly restartsMax: number
  /** The kinds of incidents that command and address are told of; the log has all. */
  readonly alertOn: ReadonlySet<IncidentKind>
  /** The command that alerts are given to. */
  readonly alertExec: Pick<Command, 'argv' | 'env'> | null
  /** The address that alerts are posted to: a secret, as everyone who knows it may post there. */
  readonly alertWebhook: URL | null
}

/** The supervisors that are asked what agents run in; null, or an empty list: not this one. */
export interface ProcessSourcesConfig {
  /** A unix socket. */
  readonly docker: string | null
  /** A unix socket. */
  readonly tmux: string | null
  readonly units: readonly AgentUnits[]
  readonly unitsManager: 'system' | 'user'
  readonly restartsUnits: boolean
  /** The environment of the commands that ask them. */
  readonly env: Env
}

export interface Config extends LifeConfig, WatchConfig {
  readonly storeUrl: string
  readonly evidence: ProcessSourcesConfig
}

export function readConfig(env: Env): Config {
  const values = readSettings(env, [
    'S2_STATE',
    'S2_STORE',
    'S2_LOG_LEVEL',
    'S2_HEALTH',
    'S2_DRAIN',
    'S2_BEAT',
    'S2_LATE_AFTER',
    'S2_SILENT_AFTER',
    'S2_ROUND',
    'S2_WATCH',
    'S2_LEASE',
    'S2_MOVE_EVERY',
    'S2_PENDING_AFTER',
    'S2_TAKE_WITHIN',
    'S2_STALL_AFTER',
    'S2_ON_STALL',
    'S2_ATTEMPTS_MAX',
    'S2_FALLBACK',
    'S2_DOCKER',
    'S2_TMUX',
    'S2_UNITS',
    'S2_UNITS_MANAGER',
    'S2_UNITS_RESTART',
    'S2_RESTART_AFTER',
    'S2_RESTARTS_MAX',
    'S2_ALERT_ON',
    'S2_ALERT_EXEC',
    'S2_ALERT_WEBHOOK',
  ])
  const { S2_LATE_AFTER: lateAfterMs, S2_SILENT_AFTER: silentAfterMs, S2_WATCH: watchMs } = values
  const faults = [
    ...beatFaults(values.S2_BEAT, lateAfterMs),
    ...patienceFaults(lateAfterMs, silentAfterMs),
    ...watchFaults(watchMs, lateAfterMs),
    ...stallFaults(values.S2_STALL_AFTER, values.S2_LEASE),
  ]
  const alertExec = readExec(values.S2_ALERT_EXEC, env, faults)
  const alertOn = readKinds(values.S2_ALERT_ON, faults)
  if (faults.length > 0) throw new ConfigError(faults)
  return Object.freeze({
    state: values.S2_STATE,
    logLevel: values.S2_LOG_LEVEL,
    health: values.S2_HEALTH,
    drainMs: values.S2_DRAIN,
    storeUrl: values.S2_STORE ?? localStore(values.S2_STATE),
    lateAfterMs,
    silentAfterMs,
    roundMs: values.S2_ROUND,
    watchMs,
    leaseMs: values.S2_LEASE,
    moveEveryMs: values.S2_MOVE_EVERY,
    pendingAfterMs: values.S2_PENDING_AFTER,
    takeWithinMs: values.S2_TAKE_WITHIN,
    stallAfterMs: values.S2_STALL_AFTER,
    onStall: values.S2_ON_STALL,
    attemptsMax: values.S2_ATTEMPTS_MAX,
    fallback: values.S2_FALLBACK,
    restartAfterMs: values.S2_RESTART_AFTER,
    restartsMax: values.S2_RESTARTS_MAX,
    evidence: {
      docker: values.S2_DOCKER ?? null,
      tmux: values.S2_TMUX ?? null,
      units: values.S2_UNITS,
      unitsManager: values.S2_UNITS_MANAGER,
      restartsUnits: values.S2_UNITS_RESTART,
      env: foreignEnv(env),
    },
    alertOn,
    alertExec,
    alertWebhook: values.S2_ALERT_WEBHOOK === undefined ? null : new URL(values.S2_ALERT_WEBHOOK),
  })
}

/** How many beats may fail to come before an agent is late: with fewer, one that is lost or slow makes every agent late. */
const BEATS_TO_LATE = 2.5

/** The watchdog knows how often hosts beat by its own S2_BEAT alone. */
function beatFaults(beatMs: number, lateAfterMs: number): string[] {
  if (lateAfterMs >= BEATS_TO_LATE * beatMs) return []
  const [beat, late] = [formatDuration(beatMs), formatDuration(lateAfterMs)]
  return [
    `S2_LATE_AFTER=${late} must be at least ${BEATS_TO_LATE} times S2_BEAT=${beat}, or agents are late between two beats; ` +
      `for example S2_LATE_AFTER=${formatDuration(3 * beatMs)}, or a shorter S2_BEAT here and on every host`,
  ]
}

/** All who fall silent together must be late before the first of them is silent, or the brake comes too late. */
function patienceFaults(lateAfterMs: number, silentAfterMs: number): string[] {
  if (silentAfterMs >= 1.5 * lateAfterMs) return []
  const [late, silent] = [formatDuration(lateAfterMs), formatDuration(silentAfterMs)]
  return [
    `S2_SILENT_AFTER=${silent} must be at least one and a half times S2_LATE_AFTER=${late}, ` +
      `or mass silence passes for single failures; for example S2_SILENT_AFTER=${formatDuration(4 * lateAfterMs)}`,
  ]
}

function watchFaults(watchMs: number, lateAfterMs: number): string[] {
  if (watchMs <= lateAfterMs / 2) return []
  const [watch, late] = [formatDuration(watchMs), formatDuration(lateAfterMs)]
  return [
    `S2_WATCH=${watch} must be at most half of S2_LATE_AFTER=${late}; for example S2_WATCH=${formatDuration(Math.floor(lateAfterMs / 10))}`,
  ]
}

/**
 * Signs of work come with the renewals of a lease, each third of it and later where one fails: any time within the lease. A
 * shorter clock would take tasks from agents that work.
 */
function stallFaults(stallAfterMs: number, leaseMs: number): string[] {
  if (stallAfterMs >= leaseMs) return []
  const [stall, lease] = [formatDuration(stallAfterMs), formatDuration(leaseMs)]
  return [
    `S2_STALL_AFTER=${stall} must be at least S2_LEASE=${lease}, as workers tell of their work when they renew the lease; ` +
      `for example S2_STALL_AFTER=${lease}, or a shorter S2_LEASE here and on every worker`,
  ]
}

/** The environment that commands are given: without the settings of S2, which hold secrets that they do not need. */
function foreignEnv(env: Env): Env {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('S2_')))
}

/** `all`, a list of kinds, or what is left out of all: `-restarts_exhausted`. */
function readKinds(names: readonly string[], faults: string[]): ReadonlySet<IncidentKind> {
  const known = new Set<string>(INCIDENT_KINDS)
  const unknown = names.filter((name) => name !== 'all' && !known.has(name.replace(/^-/, '')))
  if (unknown.length > 0) {
    const kinds = INCIDENT_KINDS.join(', ')
    faults.push(`S2_ALERT_ON names ${unknown.join(', ')}, of which there is no incident; the kinds are ${kinds}`)
  }
  const chosen = names.filter((name) => !name.startsWith('-'))
  const isAll = chosen.length === 0 || chosen.includes('all')
  return new Set(INCIDENT_KINDS.filter((kind) => (isAll || chosen.includes(kind)) && !names.includes(`-${kind}`)))
}

function readExec(text: string | undefined, env: Env, faults: string[]): WatchConfig['alertExec'] {
  if (text === undefined) return null
  try {
    return { argv: commandLine(text), env: foreignEnv(env) }
  } catch (error) {
    const why = error instanceof SyntaxError ? 'is not a JSON list' : (error as Error).message
    faults.push(`S2_ALERT_EXEC ${why}; for example S2_ALERT_EXEC=["logger","-t","s2"]`)
    return null
  }
}
