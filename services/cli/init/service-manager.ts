import type { CommandContext } from '#console/context.ts'
import { type Ending, hasSucceeded } from '#runtime/command.ts'
import { runAs, type ServiceUser } from './service-user.ts'

/** The services of this host and their manager: systemd's own, or that of whoever calls. */
export interface Services {
  readonly isOfMachine: boolean
  /** Names of those that are installed; none where no manager answers. */
  readonly installed: ReadonlySet<string>
}

/** Whoever calls speaks to the manager: what a half may is of no matter there. */
const CALLER: ServiceUser = { user: '', home: '', state: '', as: [] }

const ASKING_MS = 10_000
/** As long as a unit may take to start, and a little more. */
const STARTING_MS = 90_000
const LINES = 8

export async function servicesOf(isOfMachine: boolean, context: CommandContext): Promise<Services> {
  const listed = await control(
    isOfMachine,
    ['list-unit-files', '--no-legend', '--no-pager', 's2-*'],
    context,
    ASKING_MS,
  )
  const names = (listed?.stdout.toString('utf8') ?? '').matchAll(/^(s2-[\w-]+)\.service\s/gm)
  return { isOfMachine, installed: new Set([...names].map(([, name = '']) => name)) }
}

/** What starting a service came to. */
export type Started =
  | { readonly name: string; readonly as: 'running already' | 'started' | 'started anew' }
  | { readonly name: string; readonly as: 'failed'; readonly said: readonly string[] }

/** Whether a service runs. */
export async function runs({ isOfMachine }: Services, name: string, context: CommandContext): Promise<boolean> {
  return hasSucceededAt(await control(isOfMachine, ['is-active', '--quiet', name], context, ASKING_MS))
}

/**
 * Has services start now and with the machine, and waits until they are ready. One that runs is left alone, unless its
 * settings are others now.
 */
export async function start(
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
    const isRunning = await runs(services, name, context)
    if (hasSucceededAt(enabled) && isRunning && !isChanged(name)) {
      all.push({ name, as: 'running already' })
      continue
    }
    // One that fell too often is not started by systemd until somebody says so.
    if (!isRunning) await ask('reset-failed')
    const ending = await ask(isRunning ? 'restart' : 'start')
    // A start that a person cut off is no failure of the service.
    if (hasSucceededAt(ending)) all.push({ name, as: isRunning ? 'started anew' : 'started' })
    else if (signal.aborted) break
    else all.push({ name, as: 'failed', said: await lastWords(isOfMachine, name, ending, context) })
  }
  return all
}

/** What a person reads of a service, and how. */
export function journalOf(isOfMachine: boolean, name: string): string {
  return isOfMachine ? `sudo journalctl -u ${name}` : `journalctl --user-unit ${name}`
}

async function lastWords(
  isOfMachine: boolean,
  name: string,
  ending: Ending | null,
  context: CommandContext,
): Promise<string[]> {
  const unit = isOfMachine ? '--unit' : '--user-unit'
  const argv = ['journalctl', unit, name, '--lines', String(LINES), '--output', 'cat', '--no-pager'] as const
  const journal = await tried([...argv], context, ASKING_MS)
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
  return await tried(['systemctl', ...(isOfMachine ? [] : ['--user']), ...args], context, timeoutMs, signal)
}

/** Null where there is no such program. */
async function tried(
  argv: [string, ...string[]],
  context: CommandContext,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Ending | null> {
  return await runAs(CALLER, { argv, env: context.env, timeoutMs }, context, signal).catch(() => null)
}
