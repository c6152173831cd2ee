import { statSync } from 'node:fs'
import { claudeFolder } from '#agents/claude-status.ts'
import type { Client, ClientSession } from '#agents/client-session.ts'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import { isOurs } from '#agents/wake/client-environment.ts'
import type { CommandContext } from '#console/context.ts'
import { plain } from '#console/terminal-text.ts'
import type { Missing } from './what-is-missing.ts'

/** Tells what the services of a host cannot see or do of its clients, and what to set. */
export async function tellUnseen(
  state: string,
  clients: readonly Client[],
  what: 'seen' | 'woken',
  context: CommandContext,
): Promise<void> {
  const sessions = await readClientSessions(state).catch(() => [])
  const living = sessions.filter(({ client, activity }) => clients.includes(client) && activity.state !== 'gone')
  const isOfThisUser = isOwnService(state)
  const unwoken = what === 'woken' && living.length > 0 && !isOfThisUser ? [OTHER_WATCHER] : []
  for (const each of [...unwoken, ...whatIsUnseen(living, isOfThisUser)]) {
    context.tell(`s2: ${plain(each.what)}\n  next: ${each.next}\n`)
  }
}

/** Each thing that keepalive cannot see, once. `isOfThisUser`: keepalive runs as the user whose clients these are. */
export function whatIsUnseen(sessions: readonly ClientSession[], isOfThisUser: boolean): Missing[] {
  const folders = new Set(sessions.filter(({ unseen }) => unseen.includes('files')).map(claudeFolder))
  const hidden = sessions.filter(({ unseen }) => unseen.includes('process'))
  return [
    ...[...folders].map((folder) => ({
      what: `s2-keepalive cannot look into ${folder}: a dialog that no hook tells of is not seen, and a turn that its person interrupts is taken for work, whose end wakes await for ten minutes`,
      next: isOfThisUser ? OPEN_HOMES : OTHER_HOME,
    })),
    ...(hidden.length === 0
      ? []
      : [
          {
            what: `s2-keepalive cannot see the process of ${hidden.map(({ client, id }) => `${client} ${id}`).join(', ')}: a tool that runs for long may be told as stalled, though it computes`,
            next: OPEN_PROCESSES,
          },
        ]),
  ]
}

const OPEN_HOMES =
  'sudo systemctl edit s2-keepalive, with the lines [Service] and ProtectHome=read-only; then sudo systemctl restart s2-keepalive'
const OTHER_HOME =
  'it runs as another user, to whom that folder is closed; services of the agent’s own user (make install AGENT=name) may be let in by ProtectHome=read-only'
const OPEN_PROCESSES =
  'sudo systemctl edit s2-keepalive, with the lines [Service] and ProtectProc=default; then sudo systemctl restart s2-keepalive'

const OTHER_WATCHER: Missing = {
  what: 'the services of this host run as another user than you, so that its watcher can wake by none of these ways, whatever you could',
  next: 'on a host of its own for the agent: make install AGENT=name, with the name of its user',
}

/** Whether the state folder, and with it what runs for it, belongs to this user. */
function isOwnService(state: string): boolean {
  const stat = statSync(state, { throwIfNoEntry: false })
  return stat === undefined || isOurs(stat.uid)
}
