import { readClaudeStatus, withClaudeStatus } from '#agents/claude-status.ts'
import { publishClientSession, readClientSessions, removeClientSession } from '#agents/client-sessions-folder.ts'
import { unseenOf, withUnseen } from '#agents/client-unseen.ts'
import { HookReports } from '#agents/hook-reports.ts'
import { ToldHere } from '#agents/told-here.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { isRunning, pidNamespace } from '#runtime/process-life.ts'
import { ticksSinceStart } from '#runtime/process-stat.ts'
import type { Life } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { systemZone } from '#runtime/wall-day.ts'
import { readProcesses } from '#runtime/work-signs.ts'
import { type ClientFolders, ClientSessions } from './client-sessions.ts'
import type { Config } from './config.ts'
import { ToolWork } from './tool-work.ts'

/** Follows the sessions of clients on this host until the program drains. */
export async function followClients(
  { state, pollMs }: Pick<Config, 'state' | 'pollMs'>,
  life: Pick<Life, 'clock' | 'chance' | 'log' | 'health' | 'draining' | 'stack'>,
  sessionsHere: () => readonly SessionId[],
): Promise<ClientSessions> {
  const { clock, chance, log, health, draining, stack } = life
  const reports = new HookReports(state, (fault) => log.warn('spool file set aside', { fault }))
  const folders = foldersOf(state, reports)
  // Only a folder that exists can be watched from the start; where one cannot be made, the first look into it says why.
  await folders.tidy(clock.wall()).catch(() => undefined)
  const clients = new ClientSessions({
    folders,
    clock,
    chance,
    signal: draining,
    troubles: new TroubleLog({ log, health }),
    pollMs,
    zone: systemZone(),
    namespace: pidNamespace(),
    isRunning,
    withEvidence: (session) => withUnseen(withClaudeStatus(session, readClaudeStatus(session)), unseenOf(session)),
    tools: new ToolWork({ clock, processes: readProcesses, ticksNow: ticksSinceStart }),
    sessionsHere,
  })
  health.metrics.gauge('s2_keepalive_clients', 'Sessions of clients that are known here.', () => clients.size)
  stack.use(
    watchFolder(reports.folder(), { onEvents: () => clients.nudge(), onDoubt: () => clients.nudge() }, { clock, log }),
  )
  stack.defer(() => clients.done)
  return clients
}

function foldersOf(state: string, reports: HookReports): ClientFolders {
  const told = new ToldHere(state)
  return {
    version: () => reports.version(),
    take: (max) => reports.take(max),
    read: () => readClientSessions(state),
    publish: (session) => publishClientSession(state, session),
    remove: (session) => removeClientSession(state, session),
    tidy: async (wall) => {
      await reports.ensure()
      await told.ensure()
      await reports.tidy(wall)
      await told.tidy(wall)
    },
  }
}
