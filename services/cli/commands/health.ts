import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { table } from '#console/table.ts'
import { plain } from '#console/terminal-text.ts'
import { askHealth, healthSocket, type ProgramHealth } from '#runtime/health-client.ts'
import { type Env, readSettings } from '#runtime/read-settings.ts'
import type { Address } from '#runtime/setting-parsers.ts'
import { type ProgramName, SETTINGS } from '#runtime/settings.ts'
import { journalCommand } from '../init/systemd-services.ts'
import { programNamed } from '../program-named.ts'

const EXAMPLES = `
Examples:
  s2 health                      every program that runs with this state folder
  s2 health keepalive            one; exit code 0 when it can work, 1 when it cannot (for container checks)`

/** The programs that answer for their health. */
const SERVICES: readonly ProgramName[] = SETTINGS.S2_HEALTH.programs

export function define(command: Command, context: CommandContext): void {
  command
    .argument('[program]', `one of ${SERVICES.join(', ')}`)
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (program: string | undefined, options: { json?: true }) => {
      const settings = readSettings(commandEnv(context), ['S2_STATE', 'S2_HEALTH'])
      const asked = program === undefined ? running(settings.S2_STATE) : [programNamed(program, SERVICES)]
      const found = await Promise.all(
        asked.map(async (name) => {
          const address = addressOf(name, settings.S2_STATE, program && settings.S2_HEALTH)
          const health = await askHealth(name, address, context.clock)
          return { ...health, next: health.ready ? null : nextFor(health, settings.S2_STATE, context.env) }
        }),
      )
      if (options.json === true) context.print(`${JSON.stringify(found, null, 2)}\n`)
      else if (found.length > 0) context.print(`${lines(found, context.screen.columns).join('\n')}\n`)
      if (found.length === 0) {
        const next = 'start its services, or set S2_STATE to the state folder of its services'
        context.tell(`s2: no program runs with the state folder ${settings.S2_STATE}\n  next: ${next}\n`)
      }
      if (found.length === 0 || found.some(({ ready }) => !ready)) throw new Exit(EXIT.failed)
    })
}

const COLUMNS = [{ title: 'PROGRAM' }, { title: 'STATE' }, { title: 'WHAT IT DOES', stretches: true }]

function cellsOf({ program, ready, state, status, troubles, warnings }: ProgramHealth): string[] {
  const why = [
    ...Object.entries(troubles).map(([topic, text]) => `${topic}: ${text}`),
    ...Object.values(warnings).map((text) => `warning: ${text}`),
  ]
  return [program, ready || state !== 'ready' ? state : 'troubled', [...why, status].filter((each) => each).join('; ')]
}

/** The table, with what to do below each program that cannot work. */
function lines(found: readonly (ProgramHealth & { readonly next: string | null })[], columns: number): string[] {
  const [titles = '', ...rows] = table(COLUMNS, found.map(cellsOf), columns)
  return [
    titles,
    ...rows.flatMap((row, index) => {
      const next = found[index]?.next
      return typeof next === 'string' ? [row, `  next: ${plain(next)}`] : [row]
    }),
  ]
}

/** Advice on a trouble, by the first word of its topic. */
const ADVICE: Readonly<Record<string, string>> = {
  credentials:
    'on a worker s2-cred-sync brings the credential once the host has joined (s2 worker join; s2 health cred-sync); on an orchestrator s2 worker invite makes one',
  bridge: 'on the bridge’s host, s2 health bridge; if it is well there, check the network between the two hosts',
  credential:
    'mend or remove that file: s2-cred-sync brings it anew; s2 credential rotate, on the orchestrator’s host, makes a new one',
  session:
    'what it says; a worker that was revoked or replaced is invited again: s2 worker invite, on the orchestrator’s host; an agent that is no worker of S2 gets a new token there: s2 credential rotate',
  certificate: 's2 certificate show says what is wrong with it; sudo s2 keys tls renews one that was made here',
  remote:
    'a host that has not joined yet joins by s2 worker join; s2 worker list, on the orchestrator’s host, shows who was admitted or revoked; else git ls-remote as the user of the service says why',
  issuing: 's2-cred-sync issues credentials through the bridge of its host: s2 health bridge',
  foreign: 'remove from the git remote what nobody knows there, and see who writes to it',
  source: 's2 config says what is watched (S2_SOURCE, S2_STATE); the database is made by the bridge',
  wake: 'run the command of S2_WAKE by hand, as the user of the service',
  blind: 'see whether the bridge is well (s2 health bridge): it collects the beats that the watchdog reads',
  alerts: 's2 alert test tries each alert channel; S2_ALERT_EXEC and S2_ALERT_WEBHOOK name them',
  database: 'see to what it names; when that is over, the database is written to again by itself',
  store: 'see whether the disk of S2_STATE is full; the bridge and the watchdog need the same database (S2_STORE)',
}

function nextFor({ program, state, troubles }: ProgramHealth, folder: string, env: Env): string {
  const log = whereItsLogIs(program, folder, env)
  if (state !== 'ready') return log
  const advice = Object.keys(troubles).flatMap((topic) => ADVICE[topic.split(' ')[0] ?? ''] ?? [])
  return advice[0] ?? log
}

function whereItsLogIs(program: string, folder: string, { HOME: home, RUN_BY: runBy }: Env): string {
  // the image of compose.yaml says it: a plain process may run in a container too
  if (runBy === 'compose') return `docker compose ps, and docker compose logs ${program}`
  if (!existsSync('/run/systemd/system'))
    return `start s2-${program} again (s2 up FLEET.json, where that started it), and read what it says`
  const isOfMachine = home === undefined || !folder.startsWith(`${home}/`)
  const ctl = isOfMachine ? 'sudo systemctl' : 'systemctl --user'
  const unit = unitOf(program, folder)
  return `${ctl} status ${unit}, and ${journalCommand(isOfMachine, unit)}; ${ctl} start ${unit}`
}

/** On a host with both roles the worker's folder lies beside the orchestrator's, whose units have the plain names. */
function unitOf(program: string, folder: string): string {
  const beside = folder.replace(/-worker$/, '')
  const isSecond = beside !== folder && existsSync(beside)
  return isSecond ? `s2-worker-${program}` : `s2-${program}`
}

function running(state: string): string[] {
  return SERVICES.filter((name) => existsSync(healthSocket(state, name)))
}

function addressOf(program: string, state: string, set: Address | undefined | ''): Address {
  return set === undefined || set === '' ? { path: healthSocket(state, program) } : set
}
