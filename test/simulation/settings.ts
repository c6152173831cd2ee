import { INCIDENT_KINDS } from '#fleet/incident.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import type { Dice } from './chance.ts'
import type { Slack } from './clock.ts'
import { CALM, type Weather } from './network.ts'

/** How the programs of a host are set; times in milliseconds. */
export interface HostConfig {
  readonly beatMs: number
  readonly leaseMs: number
  readonly pollMs: number
  readonly credentialPollMs: number
  readonly sayEveryMs: number
  /** How often a command prints a line; progress is told as often. */
  readonly lineMs: number
}

/** How a world lives: a quarter of an hour in which much goes wrong at once, or days in which the nights go wrong. */
export const PACES = ['minutes', 'days'] as const
export type Pace = (typeof PACES)[number]

const SECOND = 1_000
const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** What workers are called by their work. */
const ROLES = ['backend', 'frontend', 'tests', 'docs', 'deploy', 'review', 'wsl-cli', 'cloud-codex']

/** How long a conversation lives unless it is renewed, as by default. */
export const LIFETIME_MS = 3 * HOUR

/** Every so many seeds one is a world of days. */
const DAYS_EVERY = 4

/** The pace of the world of a seed. */
export function paceOf(seed: number): Pace {
  return seed % DAYS_EVERY === 0 ? 'days' : 'minutes'
}

/** How the programs of a host are set; times in milliseconds. */
export interface HostConfig {
  readonly beatMs: number
  readonly leaseMs: number
  readonly pollMs: number
  readonly credentialPollMs: number
  readonly sayEveryMs: number
  /** How often a command prints a line; progress is told as often. */
  readonly lineMs: number
}

/** How the world of a seed is set. Times are milliseconds. */
export interface Settings {
  readonly pace: Pace
  readonly host: HostConfig
  readonly watch: WatchConfig
  readonly watchdogs: number
  readonly workers: number
  /** Those that workers have, and those that tasks are for. */
  readonly roles: readonly string[]
  readonly wantedRoles: readonly string[]
  /** How long a task may take at least and at most that has a deadline. */
  readonly deadlineMs: readonly [number, number]
  /** Of the orchestrator's machine, and of the others. */
  readonly slack: { readonly server: Slack; readonly host: Slack } | null
  readonly engineEveryMs: number
  /** How often the registry of workers is compared with the credentials. */
  readonly issueEveryMs: number
  /** How long the world is broken, and how many episodes there are in that time. */
  readonly brokenMs: number
  readonly episodes: number
  /** When the first night begins. */
  readonly nightMs: number
  readonly taskEveryMs: number
  /** How long work takes on average, beyond a second. */
  readonly workMs: number
  /** How long work takes on average that shows nothing but processor time. */
  readonly quietMs: number
  readonly weather: Weather
  /** After everything is mended, so long may it take until all is done. */
  readonly restWithinMs: number
  /** And so long it must stay so. */
  readonly staysMs: number
}

export function chooseSettings(pace: Pace, dice: Dice): Settings {
  return pace === 'minutes' ? minutes(dice) : days(dice)
}

/** The default settings most of the time; otherwise faster ones, in the same proportions. */
function minutes(dice: Dice): Settings {
  const beatMs = 5 * SECOND * dice.pick([1, 1, 0.5])
  const workers = dice.whole(3, 6)
  const { fallback, ...roles } = chooseRoles(dice, workers)
  return {
    pace: 'minutes',
    host: { ...hostConfig(beatMs), pollMs: 4 * SECOND, sayEveryMs: 20 * SECOND, lineMs: 10 * SECOND },
    watch: {
      ...watchConfig(beatMs),
      moveEveryMs: dice.pick([10 * SECOND, 2 * SECOND]),
      stallAfterMs: 18 * beatMs,
      fallback,
    },
    watchdogs: 2,
    workers,
    ...roles,
    deadlineMs: [20 * SECOND, 200 * SECOND],
    slack: null,
    engineEveryMs: 5 * SECOND,
    issueEveryMs: 20 * SECOND,
    brokenMs: dice.between(150 * SECOND, 270 * SECOND),
    episodes: dice.whole(4, 12),
    nightMs: 0,
    taskEveryMs: 8 * SECOND,
    workMs: 9 * SECOND,
    quietMs: 120 * SECOND,
    weather: chooseWeather(dice, 0.3),
    restWithinMs: 25 * MINUTE,
    staysMs: 30 * SECOND,
  }
}

/** The same proportions, so slow that a day has as many events as a quarter of an hour has by default. */
function days(dice: Dice): Settings {
  const length = dice.pick([1, 1, 1, 1, 1, 2, 3])
  const beatMs = dice.between(4.2, 5) * MINUTE
  const workers = dice.whole(3, 4)
  const { fallback, ...roles } = chooseRoles(dice, workers)
  return {
    pace: 'days',
    host: { ...hostConfig(beatMs), pollMs: 2 * beatMs, sayEveryMs: 40 * beatMs, lineMs: 4 * beatMs },
    watch: { ...watchConfig(beatMs), watchMs: beatMs, roundMs: Math.max(MINUTE, 2 * beatMs), fallback },
    watchdogs: dice.whole(1, 2),
    workers,
    ...roles,
    deadlineMs: [5 * beatMs, 100 * beatMs],
    slack: { server: { belowMs: beatMs, ms: beatMs }, host: { belowMs: 0.85 * beatMs, ms: 2 * beatMs } },
    engineEveryMs: beatMs,
    issueEveryMs: 2 * beatMs,
    brokenMs: length * DAY,
    episodes: dice.whole(3, 6) + 2 * length,
    nightMs: dice.between(6, 14) * HOUR,
    taskEveryMs: 15 * beatMs,
    workMs: 3 * beatMs,
    quietMs: 30 * beatMs,
    weather: chooseWeather(dice, 0.6),
    restWithinMs: 20 * HOUR,
    staysMs: 6 * beatMs,
  }
}

function hostConfig(beatMs: number): Omit<HostConfig, 'pollMs' | 'sayEveryMs' | 'lineMs'> {
  return { beatMs, leaseMs: 12 * beatMs, credentialPollMs: Math.max(MINUTE, 4 * beatMs) }
}

/** Either anybody stands in for a role that nobody has, or roles hold and but one stands in for another. */
function chooseRoles(
  dice: Dice,
  workers: number,
): Pick<Settings, 'roles' | 'wantedRoles'> & Pick<WatchConfig, 'fallback'> {
  const roles = ROLES.slice(0, dice.whole(2, workers))
  if (dice.chance(0.5)) return { roles, wantedRoles: ROLES, fallback: new Map(ROLES.map((role) => [role, ['any']])) }
  return { roles, wantedRoles: roles, fallback: new Map([[ROLES[0] ?? '', ROLES.slice(1, 2)]]) }
}

function watchConfig(beatMs: number): Omit<WatchConfig, 'fallback'> {
  return {
    lateAfterMs: 3 * beatMs,
    silentAfterMs: 12 * beatMs,
    roundMs: 12 * beatMs,
    watchMs: SECOND,
    leaseMs: 12 * beatMs,
    moveEveryMs: 10 * SECOND,
    pendingAfterMs: 12 * beatMs,
    takeWithinMs: 24 * beatMs,
    stallAfterMs: 24 * beatMs,
    onStall: { otherwise: 'move', byName: new Map() },
    attemptsMax: 5,
    restartAfterMs: 6 * beatMs,
    restartsMax: 3,
    alertOn: new Set(INCIDENT_KINDS),
    alertExec: null,
    alertWebhook: null,
  }
}

/** `calm`: of each thing, the chance that it never goes wrong by itself in this world. */
function chooseWeather(dice: Dice, calm: number): Weather {
  const upTo = (most: number): number => (dice.chance(calm) ? 0 : most * dice.next() ** 2)
  return {
    ...CALM,
    lost: upTo(0.06),
    repeated: upTo(0.05),
    delayed: upTo(0.05),
    streamBreaks: upTo(0.05),
    storeRefuses: upTo(0.02),
    outcomeUnknown: upTo(0.02),
    hintLost: upTo(0.8),
    diskSlow: upTo(0.05),
    diskRefuses: upTo(0.01),
  }
}
