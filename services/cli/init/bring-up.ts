import type { CommandContext } from '#console/context.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import type { Dialogue } from './dialogue.ts'
import { servicesFor, type ThisHost } from './host-roles.ts'
import { probeBridge } from './probe-bridge.ts'
import { isServiceRunning, journalCommand, startUnits } from './systemd-services.ts'
import type { Todo } from './todo.ts'

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
  bringUp: BringUp,
  wakes: boolean,
  wanted: boolean | undefined,
  isChanged: (service: string) => boolean,
): Promise<boolean> {
  const { context, dialogue, host, todos } = bringUp
  const { services, role } = host
  const names = servicesFor(role, wakes)
  if (names.some((name) => !services.installed.has(name))) {
    todos.push(installation(host, names))
    return false
  }
  const settled = await Promise.all(
    names.map(async (name) => !isChanged(name) && (await isServiceRunning(services, name, context))),
  )
  const isUp = settled.every((each) => each)
  const shall = isUp || (wanted ?? (dialogue.canAsk && (await dialogue.confirm(`Start ${names.join(', ')} now?`))))
  if (shall) return await start(bringUp, names, isChanged)
  const ctl = systemctl(host)
  todos.push({
    what: 'start the services, or restart them so that they read their settings',
    commands: [`${ctl} enable ${names.join(' ')}`, `${ctl} restart ${names.join(' ')}`],
  })
  return false
}

function systemctl({ services }: ThisHost): string {
  return services.isOfMachine ? 'sudo systemctl' : 'systemctl --user'
}

function installation(host: ThisHost, names: readonly string[]): Todo {
  const install = host.services.isOfMachine ? 'sudo make install' : 'make install-user'
  return {
    what: 'start the services, which are not installed here (without systemd: s2 up FLEET.json)',
    commands: [`${install} ROLE=${host.role}`, `${systemctl(host)} enable --now ${names.join(' ')}`],
  }
}

async function start(
  { context, dialogue, host, todos }: BringUp,
  names: readonly string[],
  isChanged: (service: string) => boolean,
): Promise<boolean> {
  const started = await startUnits(host.services, names, isChanged, context, dialogue.signal)
  for (const each of started)
    dialogue.say(`${each.name}: ${each.as}`, ...(each.as === 'failed' ? each.said.map((line) => `  ${line}`) : []))
  dialogue.throwIfInterrupted()
  const failed = started.filter(({ as }) => as === 'failed')
  for (const { name } of failed)
    todos.push({
      what: `find out why ${name} does not start`,
      commands: [journalCommand(host.services.isOfMachine, name)],
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
