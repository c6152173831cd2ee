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
