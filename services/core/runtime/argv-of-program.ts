import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import type { ProgramName } from './settings.ts'

/** The command line of one of our programs: the bundled one beside a bundled s2, else the sources. */
export function programCommand(program: ProgramName, ...args: readonly string[]): [string, ...string[]] {
  const here = import.meta.dirname
  const bundled = import.meta.filename.endsWith('.js')
  const file = bundled
    ? join(here, `${program}.js`)
    : join(here, '..', '..', program === 's2' ? 'cli' : program, 'main.ts')
  return [process.execPath, file, ...args]
}

/** The same for what starts it later: an installed release lies in a folder that goes with it; the link to the one in force stays. */
export function lastingCommand(program: ProgramName, ...args: readonly string[]): [string, ...string[]] {
  const [node, ...rest] = programCommand(program, ...args)
  return [lasting(node), ...rest.map(lasting)]
}

function lasting(path: string): string {
  const current = path.replace(/\/releases\/[^/]+\//, '/current/')
  try {
    return current !== path && realpathSync(current) === realpathSync(path) ? current : path
  } catch {
    return path
  }
}
