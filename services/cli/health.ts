import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { askHealth, healthSocket, type ProgramHealth } from '#runtime/ask.ts'
import { closest, readSettings } from '#runtime/config.ts'
import { type Address, PROGRAMS } from '#runtime/settings.ts'
import { EXIT, Exit, UsageError } from './failure.ts'
import type { Shell } from './shell.ts'
import { commandEnv } from './state.ts'
import { table } from './table.ts'

const EXAMPLES = `
Examples:
  s2 health                      every program that runs with this state folder
  s2 health keepalive            one; exit code 0 when it can work, 1 when it cannot (for container checks)`

const SERVICES = PROGRAMS.filter((name) => name !== 's2')

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
      else if (found.length > 0) shell.print(`${table(COLUMNS, found.map(cellsOf), shell.screen.columns).join('\n')}\n`)
      if (found.length === 0) shell.tell(`s2: no program runs with the state folder ${settings.S2_STATE}\n`)
      if (found.length === 0 || found.some(({ ready }) => !ready)) throw new Exit(EXIT.failed)
    })
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

function running(state: string): string[] {
  return SERVICES.filter((name) => existsSync(healthSocket(state, name)))
}

function addressOf(program: string, state: string, set: Address | undefined | ''): Address {
  return set === undefined || set === '' ? { path: healthSocket(state, program) } : set
}
