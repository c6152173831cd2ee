import { join as joinPath } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { storeParts } from '#console/store-access.ts'
import { workerName } from '#fleet/credential.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import { hasSucceeded } from '#runtime/run-command.ts'
import { openStore } from '#store/open-store.ts'
import type { Dialogue } from './dialogue.ts'
import { servicesFor, type ThisHost } from './host-roles.ts'
import { probeBridge } from './probe-bridge.ts'
import { environmentOf, runAs, type ServiceUser } from './service-user.ts'
import { isServiceRunning, journalCommand, startUnits } from './systemd-services.ts'
import type { Todo } from './todo.ts'

/** A worker to invite: its number, and the kind of work that it does. */
export interface WorkerToInvite {
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

/** Invites workers by `s2 worker invite`; each line is shown once, and lets one host join. Answers the lines by worker. */
export async function invite(
  bringUp: BringUp,
  wanted: readonly WorkerToInvite[],
): Promise<ReadonlyMap<string, string>> {
  const { dialogue, host, todos } = bringUp
  const lines = new Map<string, string>()
  if (host.orchestrator === null) return lines
  for (const { number, role } of wanted) {
    const ending = await runS2(bringUp, host.orchestrator, ['worker', 'invite', String(number), '--role', role])
    dialogue.throwIfInterrupted()
    if (hasSucceeded(ending)) {
      const { agent, line } = JSON.parse(ending.stdout.toString('utf8')) as { agent: string; line: string }
      lines.set(agent, line)
      continue
    }
    const { message, next } = failureIn(ending.stderr)
    dialogue.say(message, ...(next === undefined ? [] : [`next: ${next}`]))
    todos.push({
      what: `invite ${workerName(number)}: ${message}`,
      commands: [`${host.command} worker invite ${number} --role ${role}`],
    })
  }
  return lines
}

/** Lets this host's worker join by an invitation. Answers whether it did. */
export async function join(bringUp: BringUp, line: string): Promise<boolean> {
  const { dialogue, host, todos } = bringUp
  if (host.worker === null) return false
  const ending = await runS2(bringUp, host.worker, ['worker', 'join', '-'], line)
  dialogue.throwIfInterrupted()
  if (hasSucceeded(ending)) {
    const {
      way,
      agent,
      line: request,
    } = JSON.parse(ending.stdout.toString('utf8')) as { way: string; agent: string; line?: string }
    if (way === 'bridge') dialogue.say(`this host has joined as ${agent}`)
    else if (way === 'git')
      dialogue.say(`the bridge does not answer from here: the request of ${agent} lies at the git remote`)
    else
      todos.push({
        what: `neither bridge nor git remote took the request of ${agent}: on the orchestrator's host`,
        commands: [`sudo s2 worker admit ${request}`],
      })
    return way !== 'line'
  }
  const { message, next } = failureIn(ending.stderr)
  dialogue.say(message, ...(next === undefined ? [] : [`next: ${next}`]))
  todos.push({
    what: `join the fleet: ${message}${next === undefined ? '' : `: ${next}`}`,
    commands: [`${host.workerCommand} worker join`],
    isFailure: true,
  })
  return false
}

const S2_MS = 120_000

async function runS2({ context, dialogue, settings }: BringUp, user: ServiceUser, args: readonly string[], input = '') {
  const env = environmentOf(user, settings, context)
  return await runAs(
    user,
    { argv: programCommand('s2', ...args, '--json'), env, timeoutMs: S2_MS, input },
    context,
    dialogue.signal,
  )
}

/** The workers that belong to the fleet, or are invited to it, and whether each has joined. */
export async function workersOf({ context, host }: Pick<BringUp, 'context' | 'host'>): Promise<Map<string, boolean>> {
  if (host.orchestrator === null) return new Map()
  await using store = await openStore(
    `unix:${joinPath(host.orchestrator.state, 'run', 'admin.sock')}`,
    storeParts(context),
  )
  const workers = (await store.workers()).filter(({ revokedAt }) => revokedAt === null)
  return new Map(workers.map(({ agent, joinedAt }) => [agent, joinedAt !== null]))
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
