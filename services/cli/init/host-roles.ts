import { homedir } from 'node:os'
import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import type { Dialogue } from './dialogue.ts'
import { type ServiceUser, serviceUserOf } from './service-user.ts'
import { readSettingsFile } from './settings-draft.ts'
import { findServices, type Services } from './systemd-services.ts'

export const ROLES = ['orchestrator', 'worker', 'both'] as const
export type Role = (typeof ROLES)[number]

/** This host as it was found: its role, the users of its services, and its settings. */
export interface ThisHost {
  readonly role: Role
  /** The folder of the settings files. */
  readonly folder: string
  /** The users of the orchestrator's services and of the worker's; null where this host has none. */
  readonly orchestrator: ServiceUser | null
  readonly worker: ServiceUser | null
  readonly services: Services
  /** The command s2 of this host, and that of its worker. */
  readonly command: string
  readonly workerCommand: string
  /** The values in the file of all services. */
  readonly set: Readonly<Record<string, string>>
  /** The values in the file of the watcher that wakes this host's agent. */
  readonly watcherSet: Readonly<Record<string, string>>
}

export interface HostOptions {
  readonly role?: Role
  readonly folder?: string
  readonly owner?: string
  readonly state?: string
  readonly workerOwner?: string
  readonly workerState?: string
}

export async function openHost(context: CommandContext, options: HostOptions, dialogue: Dialogue): Promise<ThisHost> {
  const folder =
    options.folder ?? join(context.env.XDG_CONFIG_HOME ?? join(context.env.HOME ?? homedir(), '.config'), 's2')
  const services = await findServices(options.owner !== undefined || folder.startsWith('/etc/'), context)
  const role = options.role ?? roleOf(options, services) ?? (await askRole(dialogue))
  const orchestrator = role === 'worker' ? null : await serviceUserOf(context, options.owner, options.state)
  const own = role === 'both' ? { owner: options.workerOwner, state: options.workerState } : options
  const worker = role === 'orchestrator' ? null : await serviceUserOf(context, own.owner ?? options.owner, own.state)
  const command = services.isOfMachine ? 'sudo s2' : 's2'
  return {
    role,
    folder,
    orchestrator,
    worker: worker !== null && role === 'both' && own.state === undefined ? withOwnState(worker, orchestrator) : worker,
    services,
    command,
    workerCommand: role === 'both' ? `${command}-worker` : command,
    set: await readSettingsFile(folder, 's2.env'),
    watcherSet: await readSettingsFile(folder, `${watcherOf(role)}.env`),
  }
}

/** A worker beside an orchestrator keeps its data in a folder beside the orchestrator's. */
function withOwnState(worker: ServiceUser, orchestrator: ServiceUser | null): ServiceUser {
  return orchestrator === null || worker.state !== orchestrator.state
    ? worker
    : { ...worker, state: `${orchestrator.state}-worker` }
}

/** The role of this host by the services that are installed. */
function roleOf(options: HostOptions, { installed }: Services): Role | null {
  if (options.workerState !== undefined) return 'both'
  if (installed.has('s2-worker-cred-sync')) return 'both'
  if (installed.has('s2-bridge')) return 'orchestrator'
  return installed.has('s2-cred-sync') ? 'worker' : null
}

async function askRole(dialogue: Dialogue): Promise<Role> {
  if (!dialogue.canAsk) throw new UsageError('missing --role', `say --role ${ROLES.join('|')}`)
  const isRole = (answer: string): string | null =>
    ROLES.some((role) => role === answer) ? null : `it must be one of ${ROLES.join(', ')}`
  return (await dialogue.ask(`What is this host: ${ROLES.join(', ')}? `, isRole)) as Role
}

/** The watcher that wakes the agent of this host; on a host with both roles, the worker's. */
export function watcherOf(role: Role): string {
  return role === 'both' ? 's2-worker-fs-watcher' : 's2-fs-watcher'
}

/** The services of this host in the order of their start; the watcher only where there is a wake command. */
export function servicesFor(role: Role, wakes: boolean): string[] {
  const orchestrator = role === 'worker' ? [] : ['s2-bridge', 's2-watchdog', 's2-cred-sync', 's2-keepalive']
  const own = role === 'both' ? 's2-worker' : 's2'
  const worker = role === 'orchestrator' ? [] : [`${own}-cred-sync`, `${own}-keepalive`]
  return [...orchestrator, ...worker, ...(wakes ? [watcherOf(role)] : [])]
}
