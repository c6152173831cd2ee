import type { CommandContext } from '#console/context.ts'
import { type Ending, hasSucceeded } from '#runtime/run-command.ts'
import { runAs, type ServiceUser } from './service-user.ts'

/** The services of this host and their manager: the system's, or the caller's own. */
export interface Services {
  readonly isOfMachine: boolean
  /** The names of the services that are installed; none where no manager answers. */
  readonly installed: ReadonlySet<string>
}

/** The caller speaks to the manager, not the user of the services. */
const CALLER: ServiceUser = { user: '', home: '', state: '', commandPrefix: [] }

const ASKING_MS = 10_000
/** The start timeout of a unit, and a little more. */
const STARTING_MS = 90_000
const LINES = 8

export async function findServices(isOfMachine: boolean, context: CommandContext): Promise<Services> {
  const listed = await control(
    isOfMachine,
    ['list-unit-files', '--no-legend', '--no-pager', 's2-*'],
    context,
    ASKING_MS,
  )
  const names = (listed?.stdout.toString('utf8') ?? '').matchAll(/^(s2-[\w-]+)\.service\s/gm)
  return { isOfMachine, installed: new Set([...names].map(([, name = '']) => name)) }
}

/** The result of starting a service. */
export type Started =
  | { readonly name: string; readonly as: 'running already' | 'started' | 'started anew' }
  | { readonly name: string; readonly as: 'failed'; readonly said: readonly string[] }

export async function isServiceRunning(
  { isOfMachine }: Services,
  name: string,
  context: CommandContext,
): Promise<boolean> {
  return hasSucceededAt(await control(isOfMachine, ['is-active', '--quiet', name], context, ASKING_MS))
}

/**
 * Starts services now and enables them at boot, and waits until they are ready. A service that runs is left alone, unless
 * its settings have changed.
 */
export async function startUnits(
  services: Services,
  names: readonly string[],
  isChanged: (name: string) => boolean,
  context: CommandContext,
  signal: AbortSignal,
): Promise<Started[]> {
  const { isOfMachine } = services
  const all: Started[] = []
  for (const name of names) {
    if (signal.aborted) break
    const ask = async (...args: string[]): Promise<Ending | null> =>
      await control(isOfMachine, [...args, name], context, STARTING_MS, signal)
    const enabled = await ask('enable', '--quiet')
    const isRunning = await isServiceRunning(services, name, context)
    if (hasSucceededAt(enabled) && isRunning && !isChanged(name)) {
      all.push({ name, as: 'running already' })
      continue
    }
    // systemd does not start a service that failed too often before this.
    if (!isRunning) await ask('reset-failed')
    const ending = await ask(isRunning ? 'restart' : 'start')
    // A start that the person cut off is no failure of the service.
    if (hasSucceededAt(ending)) all.push({ name, as: isRunning ? 'started anew' : 'started' })
    else if (signal.aborted) break
    else all.push({ name, as: 'failed', said: await lastLogLines(isOfMachine, name, ending, context) })
  }
  return all
}

/** The command that shows the log of a service. */
export function journalCommand(isOfMachine: boolean, name: string): string {
  return isOfMachine ? `sudo journalctl -u ${name}` : `journalctl --user-unit ${name}`
}

async function lastLogLines(
  isOfMachine: boolean,
  name: string,
  ending: Ending | null,
  context: CommandContext,
): Promise<string[]> {
  const unit = isOfMachine ? '--unit' : '--user-unit'
  const argv = ['journalctl', unit, name, '--lines', String(LINES), '--output', 'cat', '--no-pager'] as const
  const journal = await runIfPresent([...argv], context, ASKING_MS)
  const said = journal?.stdout.toString('utf8').trim().split('\n') ?? []
  const own = ending?.stderr.trim().split('\n') ?? []
  return [...own, ...said].filter((line) => line !== '').slice(-LINES)
}

function hasSucceededAt(ending: Ending | null): boolean {
  return ending !== null && hasSucceeded(ending)
}

async function control(
  isOfMachine: boolean,
  args: readonly string[],
  context: CommandContext,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Ending | null> {
  return await runIfPresent(['systemctl', ...(isOfMachine ? [] : ['--user']), ...args], context, timeoutMs, signal)
}

/** Null where the program is missing. */
async function runIfPresent(
  argv: [string, ...string[]],
  context: CommandContext,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Ending | null> {
  return await runAs(CALLER, { argv, env: context.env, timeoutMs }, context, signal).catch(() => null)
}
