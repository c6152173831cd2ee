import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readSettings } from '#runtime/read-settings.ts'
import type { CommandContext } from './context.ts'
import { quoted } from './shell-quote.ts'

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

/**
 * What to do where a command meets no fleet and one of `s2 up` lies in a folder above; null where none does, or a state folder was named.
 * It is told and not taken: what somebody put into a folder above is not to be trusted unseen.
 */
export function fleetAbove({ env, folder }: CommandContext): string | null {
  if (env.S2_STATE !== undefined) return null
  for (let at = dirname(folder); ; at = dirname(at)) {
    const state = join(at, LOCAL_STATE)
    if (existsSync(join(state, 'run')))
      return `the fleet of s2 up in ${at} is meant by S2_STATE=${quoted(state)}, and one of its workers by S2_STATE=${quoted(join(state, 'workers', 'NAME'))}`
    if (at === dirname(at)) return null
  }
}

/** The state folder of this host. Throws ConfigError. */
export function stateFolder(context: CommandContext): string {
  return readSettings(commandEnv(context), ['S2_STATE', 'S2_STORE']).S2_STATE
}

/** How long a message stays with an agent that took it and does not ack it, milliseconds. */
export function messageLease(context: CommandContext): number {
  return readSettings(commandEnv(context), ['S2_MESSAGE_LEASE']).S2_MESSAGE_LEASE
}
