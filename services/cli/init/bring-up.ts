import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { storeParts } from '#console/store-access.ts'
import { workerName } from '#fleet/credential.ts'
import { sessionId } from '#fleet/session-id.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import { hasSucceeded } from '#runtime/run-command.ts'
import { openStore } from '#store/open-store.ts'
import type { Dialogue } from './dialogue.ts'
import { servicesFor, type ThisHost } from './host-roles.ts'
import { probeBridge } from './probe-bridge.ts'
import { environmentOf, runAs } from './service-user.ts'
import { isServiceRunning, journalCommand, startUnits } from './systemd-services.ts'
import type { Todo } from './todo.ts'

/** A worker to add to the fleet: its number, and the kind of work that it does. */
export interface WorkerToEnrol {
  readonly number: number
  readonly role: string
}

/** What the steps after the settings are written share. */
export interface BringUp {
  readonly context: CommandContext
  readonly dialogue: Dialogue
  readonly host: ThisHost
  /** The settings of all services of the host, as they are now. */
  readonly settings: Readonly<Record<string, string>>
  readonly todos: Todo[]
}

/** Starts the services, or adds that to the list of what is left to do. Answers whether they run. */
export async function startServices(
  { context, dialogue, host, todos }: BringUp,
  wakes: boolean,
  wanted: boolean | undefined,
  isChanged: (service: string) => boolean,
): Promise<boolean> {
  const { services, role } = host
  const names = servicesFor(role, wakes)
  const ctl = services.isOfMachine ? 'sudo systemctl' : 'systemctl --user'
  const missing = names.filter((name) => !services.installed.has(name))
  if (missing.length > 0) {
    const install = services.isOfMachine ? `sudo make install ROLE=${role}` : `make install-user ROLE=${role}`
    todos.push({
      what: 'start the services, which are not installed here (without systemd: s2 up FLEET.json)',
      commands: [install, `${ctl} enable --now ${names.join(' ')}`],
    })
    return false
  }
  const settled = await Promise.all(
    names.map(async (name) => !isChanged(name) && (await isServiceRunning(services, name, context))),
  )
  const isUp = settled.every((each) => each)
  const shall = isUp || (wanted ?? (dialogue.canAsk && (await dialogue.confirm(`Start ${names.join(', ')} now?`))))
  if (!shall) {
    todos.push({
      what: 'start the services, or restart them so that they read their settings',
      commands: [`${ctl} enable ${names.join(' ')}`, `${ctl} restart ${names.join(' ')}`],
    })
    return false
  }
  const started = await startUnits(services, names, isChanged, context, dialogue.signal)
  for (const each of started)
    dialogue.say(`${each.name}: ${each.as}`, ...(each.as === 'failed' ? each.said.map((line) => `  ${line}`) : []))
  dialogue.throwIfInterrupted()
  const failed = started.filter(({ as }) => as === 'failed')
  for (const { name } of failed)
    todos.push({
      what: `find out why ${name} does not start`,
      commands: [journalCommand(services.isOfMachine, name)],
      isFailure: true,
    })
  return failed.length === 0
}

/** Checks that the bridge answers at the address that workers will use. */
export async function checkBridge({ context, dialogue, settings, todos }: BringUp): Promise<void> {
  const url = settings.S2_BRIDGE_URL
  if (url === undefined) return
  let ca: string | undefined
  try {
    if (settings.S2_TLS_CA !== undefined) ca = await readNamedFile(settings.S2_TLS_CA)
  } catch (error) {
    const why = `S2_TLS_CA cannot be read (${(error as Error).message})`
    dialogue.say(why)
    todos.push({ what: `${why}: put the authority's certificate there, or correct S2_TLS_CA in s2.env` })
    return
  }
  const reach = await probeBridge(url, ca, context.clock, dialogue.signal)
  dialogue.throwIfInterrupted()
  if (reach.answers) return dialogue.say(`the bridge answers at ${url}`)
  dialogue.say(reach.why, `next: ${reach.next}`)
  todos.push({ what: `${reach.why}: ${reach.next}` })
}

/** Opens a conversation with each worker that has none, by `s2 conversation create`, which puts the credential into git. */
export async function enrol(
  { context, dialogue, host, settings, todos }: BringUp,
  wanted: readonly WorkerToEnrol[],
): Promise<void> {
  const { orchestrator } = host
  if (orchestrator === null) return
  const env = environmentOf(orchestrator, settings, context)
  const s2 = async (...args: string[]) =>
    await runAs(
      orchestrator,
      { argv: programCommand('s2', ...args, '--json'), env, timeoutMs: ENROLLING_MS },
      context,
      dialogue.signal,
    )
  const known = await workersOf({ context, host })
  for (const { number, role } of wanted) {
    const name = workerName(number)
    if (known.has(name)) {
      dialogue.say(`${name} has a conversation already`)
      continue
    }
    const ending = await s2('conversation', 'create', '--role-b', role, '--number', String(number))
    dialogue.throwIfInterrupted()
    if (hasSucceeded(ending)) {
      dialogue.say(`${name} (${role}) has a conversation, and its credential is in git`)
      continue
    }
    const { message, next } = failureIn(ending.stderr)
    dialogue.say(message, ...(next === undefined ? [] : [`next: ${next}`]))
    todos.push({
      what: `enrol ${name}: ${message}`,
      commands: [`${host.command} conversation create --role-b ${role} --number ${number}`],
    })
  }
}

const ENROLLING_MS = 120_000

/** The workers of the fleet, and whether the bridge of this host has heard from each. */
export async function workersOf({ context, host }: Pick<BringUp, 'context' | 'host'>): Promise<Map<string, boolean>> {
  const workers = new Map<string, boolean>()
  if (host.orchestrator === null) return workers
  await using store = await openStore(`unix:${join(host.orchestrator.state, 'run', 'admin.sock')}`, storeParts(context))
  const [conversations, { pulses }] = await Promise.all([store.conversations(), store.pulses(0)])
  const heard = new Set(pulses.map(({ session }) => session))
  for (const { id, agents } of conversations)
    workers.set(agents.b, workers.get(agents.b) === true || heard.has(sessionId(id, 'b')))
  return workers
}

function failureIn(stderr: string): { readonly message: string; readonly next: string | undefined } {
  const line = stderr
    .trim()
    .split('\n')
    .findLast((each) => each.startsWith('{'))
  try {
    const { error } = JSON.parse(line ?? '') as { error: { message: string; next?: string } }
    return { message: error.message, next: error.next }
  } catch {
    return { message: stderr.trim() || 'it failed', next: undefined }
  }
}

const CONNECTING_MS = 30_000
const LOOK_MS = 500

/** Waits up to 30 s until this host's worker is connected. Past that, its troubles are added to what is left to do. */
export async function waitUntilConnected({ context, dialogue, host, todos }: BringUp): Promise<boolean> {
  const { worker } = host
  if (worker === null) return false
  const until = context.clock.now() + CONNECTING_MS
  for (;;) {
    const keepalive = await askHealth('keepalive', { path: healthSocket(worker.state, 'keepalive') }, context.clock)
    if (keepalive.ready && /^[1-9].*\b(connected|linked|polling)\b/.test(keepalive.status)) {
      dialogue.say(`this host is in the fleet: ${keepalive.status}`)
      return true
    }
    if (context.clock.now() > until) {
      const credSync = await askHealth('cred-sync', { path: healthSocket(worker.state, 'cred-sync') }, context.clock)
      const troubles = [keepalive, credSync].flatMap(({ program, status, troubles }) => {
        const told = Object.values(troubles)
        return (told.length > 0 ? told : [status]).map((why) => `${program}: ${why}`)
      })
      dialogue.say(`not in the fleet after ${CONNECTING_MS / 1_000} s`, ...troubles)
      todos.push({
        what: `this host is not in the fleet yet: ${troubles.join('; ')}`,
        commands: [`${host.workerCommand} health`],
      })
      return false
    }
    await context.clock.sleep(LOOK_MS, dialogue.signal).catch(() => undefined)
    dialogue.throwIfInterrupted()
  }
}
