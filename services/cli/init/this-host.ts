import { homedir } from 'node:os'
import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import type { Dialogue } from './dialogue.ts'
import { type Services, servicesOf } from './service-manager.ts'
import { type ServiceUser, serviceUserOf } from './service-user.ts'
import { valuesIn } from './settings-draft.ts'

export const ROLES = ['orchestrator', 'worker', 'both'] as const
export type Role = (typeof ROLES)[number]

/** This host as it was found: what it is, whose its halves are, and what is set already. */
export interface ThisHost {
  readonly role: Role
  /** Of the settings files. */
  readonly folder: string
  /** The orchestrator's half and the worker's; null where this host has none. */
  readonly lead: ServiceUser | null
  readonly worker: ServiceUser | null
  readonly services: Services
  /** How people call s2 for this host, and for its worker's half. */
  readonly command: string
  readonly workerCommand: string
  /** What the file of all services says. */
  readonly set: Readonly<Record<string, string>>
  /** What the file of the watcher that wakes this host's agent says. */
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
  const services = await servicesOf(options.owner !== undefined || folder.startsWith('/etc/'), context)
  const role = options.role ?? roleOf(options, services) ?? (await askRole(dialogue))
  const lead = role === 'worker' ? null : await serviceUserOf(context, options.owner, options.state)
  const own = role === 'both' ? { owner: options.workerOwner, state: options.workerState } : options
  const worker = role === 'orchestrator' ? null : await serviceUserOf(context, own.owner ?? options.owner, own.state)
  const command = services.isOfMachine ? 'sudo s2' : 's2'
  return {
    role,
    folder,
    lead,
    worker: worker !== null && role === 'both' && own.state === undefined ? besides(worker, lead) : worker,
    services,
    command,
    workerCommand: role === 'both' ? `${command}-worker` : command,
    set: await valuesIn(folder, 's2.env'),
    watcherSet: await valuesIn(folder, `${watcherOf(role)}.env`),
  }
}

/** The worker's half of a host that has both keeps its data beside the orchestrator's. */
function besides(worker: ServiceUser, lead: ServiceUser | null): ServiceUser {
  return lead === null || worker.state !== lead.state ? worker : { ...worker, state: `${lead.state}-worker` }
}

/** What was installed here says what this host is. */
function roleOf(options: HostOptions, { installed }: Services): Role | null {
  if (options.workerState !== undefined) return 'both'
  const [isLead, isWorker] = [installed.has('s2-bridge'), installed.has('s2-cred-sync')]
  if (isLead && isWorker) return 'both'
  return isLead ? 'orchestrator' : isWorker ? 'worker' : null
}

async function askRole(dialogue: Dialogue): Promise<Role> {
  if (!dialogue.canAsk) throw new UsageError('missing --role', `say --role ${ROLES.join('|')}`)
  const isRole = (answer: string): string | null =>
    ROLES.some((role) => role === answer) ? null : `it must be one of ${ROLES.join(', ')}`
  return (await dialogue.ask(`What is this host: ${ROLES.join(', ')}? `, isRole)) as Role
}

/** The watcher that wakes the agent of this host: with both halves on it, the worker's. */
export function watcherOf(role: Role): string {
  return role === 'both' ? 's2-worker-fs-watcher' : 's2-fs-watcher'
}

/** The services of this host in the order in which they start; the watcher once it has somebody to wake. */
export function servicesFor(role: Role, wakes: boolean): string[] {
  const lead = role === 'worker' ? [] : ['s2-bridge', 's2-watchdog', 's2-keepalive']
  const worker =
    role === 'orchestrator' ? [] : ['s2-cred-sync', role === 'both' ? 's2-worker-keepalive' : 's2-keepalive']
  return [...lead, ...worker, ...(wakes ? [watcherOf(role)] : [])]
}
