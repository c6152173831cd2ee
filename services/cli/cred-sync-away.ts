import type { CommandContext } from '#console/context.ts'
import { quoted } from '#console/shell-quote.ts'
import { commandEnv } from '#console/state-folder.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { readSettings } from '#runtime/read-settings.ts'

/** Credentials are made by cred-sync on this host alone: without it a worker waits, and nobody would see why. */
export async function tellWhetherIssued(context: CommandContext): Promise<void> {
  const away = await credSyncAway(context)
  if (away === null) return
  context.tell(
    `s2: s2-cred-sync, which admits workers and issues their credentials, is away (${away})\n  next: start it: systemctl start s2-cred-sync\n`,
  )
}

/** The same on the host of a worker, whose credential it brings; mail comes by keepalive. */
export async function tellWhetherCarried(context: CommandContext): Promise<void> {
  const away = await credSyncAway(context)
  if (away === null) return
  const byHand = (['cred-sync', 'keepalive'] as const).map((each) => programCommand(each).map(quoted).join(' '))
  context.tell(
    `s2: s2-cred-sync, which brings the credential, is away (${away})\n  next: systemctl start s2-cred-sync s2-keepalive; without systemd: ${byHand.join(' and ')}\n`,
  )
}

/** Why nobody answers for the cred-sync of this host; null where it runs. */
async function credSyncAway(context: CommandContext): Promise<string | null> {
  const { S2_STATE } = readSettings(commandEnv(context), ['S2_STATE'])
  const { state, status } = await askHealth('cred-sync', { path: healthSocket(S2_STATE, 'cred-sync') }, context.clock)
  return state === 'away' ? status : null
}
