import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { agentArguments, flagsOf } from '#agents/agent-options.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import type { ProgramName } from '#runtime/settings.ts'
import type { AgentSpec, Fleet, FleetSettings, WorkerSpec } from './parse-fleet-description.ts'
import { MARK } from './process-tree.ts'

/** How one program of a local fleet is started. */
export interface ProgramPlan {
  readonly agent: string
  readonly program: ProgramName
  readonly argv: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The working folder. */
  readonly folder: string
  /** Programs start by rising stage and stop by falling stage, those of one stage together. */
  readonly stage: number
}

export const STAGE = { bridge: 0, issuer: 1, orchestrator: 2, credentials: 3, hosts: 4, agents: 5 } as const

export interface PlanContext {
  /** The fleet's state folder, which is the orchestrator's too. */
  readonly state: string
  /** Where `s2 up` was called. */
  readonly folder: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** The state folder of an agent. Agents share only the bridge's address and the git remote. */
export function stateOf(agent: string, state: string): string {
  return agent === ORCHESTRATOR ? state : join(state, 'workers', agent)
}

export function remoteOf(fleet: Fleet, state: string): string {
  // As a URL, because a path may hold blanks.
  return fleet.remote ?? pathToFileURL(localRemote(state)).href
}

export function bridgeUrlOf({ listen }: Fleet): string {
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host
  return `http://${host}:${listen.port}`
}

/** The repository that a fleet on one machine makes for itself in its state folder. */
export function localRemote(state: string): string {
  return join(state, 'remote.git')
}

/** Whether anything is started that wakes an agent. */
export function isWoken({ wake, settings }: AgentSpec, fleet: Fleet): boolean {
  return wake !== null || settings.S2_WAKE_BY !== undefined || fleet.settings.S2_WAKE_BY !== undefined
}

/** The programs of each agent, and their settings. */
export function planPrograms(fleet: Fleet, around: PlanContext): ProgramPlan[] {
  const { orchestrator } = fleet
  const plan = (
    spec: AgentSpec,
    program: ProgramName,
    stage: number,
    decided: FleetSettings,
    args: readonly string[] = [],
  ): ProgramPlan => ({
    agent: spec.agent,
    program,
    argv: programCommand(program, ...args),
    env: envFor(fleet, spec, decided, around),
    folder: around.folder,
    stage,
  })
  // Without a command an agent may still be woken, by its client.
  const wakes = (spec: AgentSpec, stage: number, source: FleetSettings): ProgramPlan[] => {
    if (!isWoken(spec, fleet)) return []
    return [plan(spec, 'fs-watcher', stage, { ...source, ...(spec.wake === null ? {} : { S2_WAKE: spec.wake }) })]
  }
  const host = (spec: AgentSpec, stage: number): ProgramPlan => plan(spec, 'keepalive', stage, { S2_HOST: spec.agent })
  const works = (worker: WorkerSpec): ProgramPlan[] =>
    worker.exec === null && worker.client === null
      ? []
      : [plan(worker, 'worker', STAGE.agents, {}, workerArguments(worker))]
  // The database that the environment names is the fleet's, for the programs that open it: commands in this shell open it too.
  const { S2_STORE } = around.env
  const kept: FleetSettings = S2_STORE === undefined ? {} : { S2_STORE }
  const { host: name, port } = fleet.listen
  const listen = `${name.includes(':') ? `[${name}]` : name}:${port}`
  const bridge = plan(orchestrator, 'bridge', STAGE.bridge, { S2_LISTEN: listen, ...kept })
  return [
    { ...bridge, env: { ...ONE_HEAP, ...bridge.env } },
    plan(orchestrator, 'watchdog', STAGE.orchestrator, kept),
    plan(orchestrator, 'cred-sync', STAGE.issuer, {
      S2_ISSUER: 'yes',
      S2_GIT_REMOTE: remoteOf(fleet, around.state),
      S2_GIT_BRANCH: fleet.branch,
      S2_BRIDGE_URL: bridgeUrlOf(fleet),
    }),
    host(orchestrator, STAGE.orchestrator),
    ...wakes(orchestrator, STAGE.orchestrator, { S2_SOURCE: 'database', ...kept }),
    ...fleet.workers.flatMap((worker) => [
      plan(worker, 'cred-sync', STAGE.credentials, {}),
      host(worker, STAGE.hosts),
      ...wakes(worker, STAGE.agents, { S2_SOURCE: 'inbox' }),
      ...works(worker),
    ]),
  ]
}

/** The worker itself starts elsewhere: it can tell the fleet that the folder of its command is missing. */
function workerArguments({ exec, client, stdin, folder }: WorkerSpec): readonly string[] {
  return [
    ...(exec === null ? [] : [`--exec=${exec}`]),
    ...(client === null ? [] : agentArguments(flagsOf(client))),
    ...(stdin === 'json' ? [] : [`--stdin=${stdin}`]),
    ...(folder === null ? [] : [`--folder=${folder}`]),
  ]
}

/** For the bridge, as in its unit: one heap for its few threads is 1.5 MB smaller than one each. */
const ONE_HEAP = { MALLOC_ARENA_MAX: '1' }

/** The environment wins over the fleet file, as over any settings file; settings that `s2 up` decides win over both. */
function envFor(
  fleet: Fleet,
  spec: AgentSpec,
  decided: FleetSettings,
  { env, state }: PlanContext,
): ProgramPlan['env'] {
  const folder = stateOf(spec.agent, state)
  return { ...fleet.settings, ...spec.settings, ...withoutDecided(env), ...decided, S2_STATE: folder, [MARK]: folder }
}

/** Settings of `s2 up` itself that would be wrong for its programs. */
const OWN_SETTINGS =
  /^S2_(STATE|STORE|LISTEN|HEALTH|WORKER|IDENTITY|ISSUER|HOST|SOURCE|WAKE|GIT_REMOTE|GIT_BRANCH|BRIDGE_URL)$/

function withoutDecided(env: PlanContext['env']): PlanContext['env'] {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !OWN_SETTINGS.test(name)))
}
