import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readSettings } from '#runtime/config.ts'
import type { CommandContext } from './context.ts'

/** Where `s2 up` keeps a fleet unless it is told otherwise: beside whoever calls. */
export const LOCAL_STATE = '.s2'

/**
 * The environment that a command reads its settings from. Where S2_STATE is not set and a fleet was brought up in this
 * folder, that fleet is meant.
 */
export function commandEnv(shell: CommandContext): CommandContext['env'] {
  if (shell.env.S2_STATE !== undefined) return shell.env
  const local = join(shell.folder, LOCAL_STATE)
  return existsSync(join(local, 'run')) ? { ...shell.env, S2_STATE: local } : shell.env
}

/** The state folder of this host. Throws ConfigError. */
export function stateFolder(shell: CommandContext): string {
  return readSettings(commandEnv(shell), ['S2_STATE', 'S2_STORE']).S2_STATE
}
