import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import type { Command } from 'commander'
import { closest, readSettings } from '#runtime/config.ts'
import { type Address, PROGRAMS } from '#runtime/settings.ts'
import { socketDoor } from '#runtime/socket.ts'
import { EXIT, Exit, UsageError } from './failure.ts'
import type { Shell } from './shell.ts'
import { commandEnv } from './state.ts'
import { table } from './table.ts'

const EXAMPLES = `
Examples:
  s2 health                      every program that runs with this state folder
  s2 health keepalive            one; exit code 0 when it can work, 1 when it cannot (for container checks)`

const SERVICES = PROGRAMS.filter((name) => name !== 's2')
const ANSWER_MS = 5_000
const ANSWER_MAX = 1_048_576

export function define(command: Command, shell: Shell): void {
  command
    .argument('[program]', `one of ${SERVICES.join(', ')}`)
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (program: string | undefined, options: { json?: true }) => {
      const settings = readSettings(commandEnv(shell), ['S2_STATE', 'S2_HEALTH'])
      const asked = program === undefined ? running(settings.S2_STATE) : [known(program)]
      const found = await Promise.all(
        asked.map((name) => askHealth(name, addressOf(name, settings.S2_STATE, program && settings.S2_HEALTH))),
      )
      if (options.json === true) shell.print(`${JSON.stringify(found, null, 2)}\n`)
      else shell.print(`${table(COLUMNS, found.map(cellsOf), shell.screen.columns).join('\n')}\n`)
      if (found.length === 0) shell.tell(`s2: no program runs with the state folder ${settings.S2_STATE}\n`)
      if (found.length === 0 || found.some(({ ready }) => !ready)) throw new Exit(EXIT.failed)
    })
}

export interface ProgramHealth {
  readonly program: string
  readonly ready: boolean
  /** init, ready, draining, stopped; or `away` when nobody answers. */
  readonly state: string
  readonly status: string
  readonly troubles: Readonly<Record<string, string>>
}

const COLUMNS = [{ title: 'PROGRAM' }, { title: 'STATE' }, { title: 'WHAT IT DOES', stretches: true }]

function cellsOf({ program, ready, state, status, troubles }: ProgramHealth): string[] {
  const why = Object.entries(troubles).map(([topic, text]) => `${topic}: ${text}`)
  return [program, ready || state !== 'ready' ? state : 'troubled', [...why, status].filter((each) => each).join('; ')]
}

function known(program: string): string {
  const found = SERVICES.find((each) => each === program.replace(/^s2-/, ''))
  if (found !== undefined) return found
  const near = closest(program, SERVICES)
  throw new UsageError(
    `there is no program ${JSON.stringify(program)}`,
    near === undefined ? `name one of ${SERVICES.join(', ')}` : `did you mean ${near}?`,
  )
}

function socketOf(state: string, program: string): string {
  return join(state, 'run', `${program}.sock`)
}

function running(state: string): string[] {
  return SERVICES.filter((name) => existsSync(socketOf(state, name)))
}

function addressOf(program: string, state: string, set: Address | undefined | ''): Address {
  return set === undefined || set === '' ? { path: socketOf(state, program) } : set
}

/** Asks a program's `/readyz`; one that does not answer in 5 s is away. */
export async function askHealth(program: string, address: Address): Promise<ProgramHealth> {
  try {
    const report = JSON.parse(await get(address, '/readyz')) as Omit<ProgramHealth, 'program'>
    return { program, ready: report.ready, state: report.state, status: report.status, troubles: report.troubles }
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'it does not run' : (error as Error).message
    return { program, ready: false, state: 'away', status: why, troubles: {} }
  }
}

async function get(address: Address, path: string): Promise<string> {
  using door = 'path' in address ? socketDoor(address.path) : null
  const where =
    'path' in address ? { socketPath: door?.path ?? address.path } : { host: address.host, port: address.port }
  return await new Promise((resolve, reject) => {
    const asked = request({ ...where, path, signal: AbortSignal.timeout(ANSWER_MS) }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
        if (body.length > ANSWER_MAX) response.destroy(new Error('it said too much'))
      })
      response.on('end', () => resolve(body))
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end()
  })
}
