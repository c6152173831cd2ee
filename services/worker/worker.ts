import { randomBytes } from 'node:crypto'
import type { ConsoleProgram } from '#console/console-program.ts'
import type { CommandContext } from '#console/context.ts'
import { isAnswered, terseLog } from '#console/store-access.ts'
import { healthSocket } from '#runtime/health-client.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { type Config, readConfig } from './config.ts'
import { eventTeller } from './event-text.ts'
import { inboxTaskMailbox, outboxReports } from './spool-ports.ts'
import { commandStarter } from './task-command.ts'
import { type Reports, TaskLoop } from './task-loop.ts'
import { WorkerSessions } from './worker-sessions.ts'

/** The agent behind `s2 work`: leases the tasks of this host's workers, one at a time, and runs a command for each. */
export const program: ConsoleProgram<Config> = {
  name: 'worker',
  about: 'Runs a command for each task of the workers on this host, and keeps the task leased while the command runs.',
  usage: '--exec CMD [--session SESSION] [--once] [--quiet] [--json]',
  stops: 'Ctrl-C lets the task in hand end first; a second one, TERM or HUP ends it at once.',
  readConfig,
  run: work,
}

async function work(config: Config, context: CommandContext): Promise<void> {
  process.title = 's2-work'
  const { state } = config
  const onFault = (fault: string): void => context.tell(`s2: ${fault}\n`)
  await using sessions = new WorkerSessions(state, config.session, context)
  const draining = new AbortController()
  const stopping = new AbortController()
  using _signals = context.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) => {
    // The first Ctrl-C is patient: what is in hand may be an hour's work.
    if (signal !== 'SIGINT' || draining.signal.aborted) stopping.abort()
    else if (config.speech !== 'json')
      context.tell('s2: stopping when the task in hand is done; Ctrl-C again stops it now\n')
    draining.abort()
  })
  const loop = new TaskLoop(config.work, {
    clock: context.clock,
    chance: context.chance,
    life: `work-${randomBytes(8).toString('hex')}`,
    sessions: () => sessions.read(),
    reports: warnUncarried(outboxReports(new Outbox(state, onFault)), state, context),
    taskMessages: inboxTaskMailbox(new Inbox(state, onFault), { clock: context.clock, log: terseLog(context) }),
    start: commandStarter(config.command, config.commandEnv, context.folder, context.clock),
    say: eventTeller(context, config.speech),
    draining: draining.signal,
    stopping: stopping.signal,
  })
  await loop.work()
}

/** Says once when nobody is there to carry reports: they are safe, but they stay. */
function warnUncarried(reports: Reports, state: string, context: CommandContext): Reports {
  const troubles = new KnownTroubles()
  return {
    ...reports,
    put: async (holder, report) => {
      const name = await reports.put(holder, report)
      if (!(await isAnswered(healthSocket(state, 'keepalive'))) && troubles.isNew('keepalive', 'away')) {
        context.tell(`s2: no s2-keepalive serves ${state}: reports wait in the outbox until one does\n`)
      }
      return name
    },
  }
}
