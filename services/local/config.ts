import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { readArguments } from '#console/console-program.ts'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { LOCAL_STATE } from '#console/state-folder.ts'
import { keepFolderPrivate } from '#runtime/private-folder.ts'
import { ConfigError, type Env, readSettings } from '#runtime/read-settings.ts'
import { localStore } from '#runtime/settings.ts'
import { servedStore } from '#spool/served-store.ts'
import { type DemoTask, readDemo } from './demo-tasks.ts'
import { type Fleet, readFleet } from './parse-fleet-description.ts'

export interface FleetConfig {
  readonly does: 'run a fleet'
  readonly fleet: Fleet
  /** Tasks for the demo; null: no demo. */
  readonly demo: readonly DemoTask[] | null
  readonly state: string
  /** The environment of the fleet's programs. */
  readonly env: Env
  readonly lifetimeMs: number
  readonly gitTimeoutMs: number
  readonly json: boolean
}

export interface ReaperConfig {
  readonly does: 'end orphans'
  /** The state folder of the fleet whose processes are ended. */
  readonly state: string
}

export type Config = FleetConfig | ReaperConfig

export function readConfig(argv: readonly string[], context: CommandContext): Config {
  const { values, positionals } = readArguments('local', argv, {
    allowPositionals: true,
    options: {
      demo: { type: 'boolean' },
      json: { type: 'boolean' },
      'end-orphans-of': { type: 'string' },
    },
  })
  if (values['end-orphans-of'] !== undefined) return { does: 'end orphans', state: values['end-orphans-of'] }
  const [path] = positionals
  if (path === undefined || positionals.length > 1)
    throw new UsageError(
      positionals.length > 1 ? 'more than one fleet file' : 'missing the fleet file',
      'for example deploy/fleet/nine.json',
    )
  const fleet = readFleet(path)
  const demo = values.demo === true ? demoOf(fleet, path) : null
  const named = { ...context.env, S2_STATE: context.env.S2_STATE ?? join(context.folder, LOCAL_STATE) }
  const settings = readSettings({ ...fleet.settings, ...named }, [
    'S2_STATE',
    'S2_STORE',
    'S2_LIFETIME',
    'S2_GIT_TIMEOUT',
  ])
  demandDatabase(settings.S2_STORE)
  mkdirSync(settings.S2_STATE, { recursive: true, mode: 0o700 })
  const mended = keepFolderPrivate(settings.S2_STATE)
  if (mended !== null) context.tell(`s2: ${mended}\n`)
  return Object.freeze({
    does: 'run a fleet',
    fleet,
    demo,
    // Process marks are compared as texts, so a folder must have one name.
    state: realpathSync(settings.S2_STATE),
    env: { ...storeOfBefore(settings.S2_STATE), ...named },
    lifetimeMs: settings.S2_LIFETIME,
    gitTimeoutMs: settings.S2_GIT_TIMEOUT,
    json: values.json === true,
  })
}

/** Where nobody names a store, the fleet goes on with the one that it had. */
function storeOfBefore(state: string): { readonly S2_STORE?: string } {
  const url = servedStore(state)
  return url === localStore(state) ? {} : { S2_STORE: url }
}

/** The bridge of a fleet keeps it in a database: what another one keeps, or what ends with a program, is no place for it. */
function demandDatabase(store: string | undefined): void {
  if (store === undefined || store.startsWith('sqlite:')) return
  throw new ConfigError([
    `S2_STORE=${store} cannot be used with s2 up, whose bridge keeps the fleet in a database: ` +
      'name one (S2_STORE=sqlite:/path), or leave it out',
  ])
}

function demoOf(fleet: Fleet, path: string): DemoTask[] {
  if (fleet.demo === null)
    throw new ConfigError([`${path} names no tasks for a demo: add "demo": "tasks.json", or leave --demo out`])
  return readDemo(fleet.demo, fleet)
}
