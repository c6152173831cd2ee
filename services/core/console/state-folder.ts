import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readSettings } from '#runtime/read-settings.ts'
import type { CommandContext } from './context.ts'

/** The default state folder of `s2 up`, in the folder where it is called. */
export const LOCAL_STATE = '.s2'

/**
 * The environment that a command reads its settings from. Without S2_STATE, a fleet that was started in this folder is
 * meant.
 */
export function commandEnv(context: CommandContext): CommandContext['env'] {
  if (context.env.S2_STATE !== undefined) return context.env
  const local = join(context.folder, LOCAL_STATE)
  return existsSync(join(local, 'run')) ? { ...context.env, S2_STATE: local } : context.env
}

/** The state folder of this host. Throws ConfigError. */
export function stateFolder(context: CommandContext): string {
  return readSettings(commandEnv(context), ['S2_STATE', 'S2_STORE']).S2_STATE
}

/** How long a message stays with an agent that took it and does not ack it, milliseconds. */
export function messageLease(context: CommandContext): number {
  return readSettings(commandEnv(context), ['S2_MESSAGE_LEASE']).S2_MESSAGE_LEASE
}
