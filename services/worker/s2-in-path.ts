import { existsSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { quoted } from '#console/shell-quote.ts'
import { lastingCommand } from '#runtime/argv-of-program.ts'
import type { Env } from '#runtime/read-settings.ts'
import { publish } from '#spool/atomic-files.ts'

/**
 * An environment in whose PATH the command `s2` is found, so that a task can call it: where it is not, a script in the state folder
 * that starts the S2 that runs now comes last. Throws what the system says.
 */
export async function withS2(env: Env, state: string): Promise<Env> {
  if (env.PATH === undefined) return env
  const folders = env.PATH.split(delimiter).filter((folder) => folder !== '')
  if (folders.some((folder) => existsSync(join(folder, 's2')))) return env
  const bin = resolve(state, 'agents', 'bin')
  const words = lastingCommand('s2').map(quoted).join(' ')
  await publish(join(bin, 's2'), `#!/bin/sh\nexec ${words} "$@"\n`, 0o755)
  return { ...env, PATH: [env.PATH, bin].join(delimiter) }
}
