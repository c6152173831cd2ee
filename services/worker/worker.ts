import { randomBytes } from 'node:crypto'
import { NO_BUDGETS } from '#agents/budget.ts'
import type { ConsoleProgram } from '#console/console-program.ts'
import type { CommandContext } from '#console/context.ts'
import { failureOf, UnavailableError } from '#console/failure.ts'
import { terseLog } from '#console/store-access.ts'
import { warningOfTaskText } from '#console/task-text-warning.ts'
import { PROGRAM_RUN } from '#fleet/task.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { isKeepaliveThere } from '#runtime/program-presence.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import { systemZone } from '#runtime/wall-day.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { TaskLogWriter } from '#spool/task-log.ts'
import { agentWords } from './agent-words.ts'
import { clientDriver } from './clients/client-driver-of.ts'
import { clientStarter } from './clients/client-run.ts'
import { DaySpending } from './clients/day-spending.ts'
import { AgentBudget } from './clients/run-budget.ts'
import { s2Tools } from './clients/s2-tools.ts'
import { TaskSessions } from './clients/task-sessions.ts'
import { type Config, readConfig } from './config.ts'
import { eventPrinter, logText } from './event-text.ts'
import { placeJudge, seenFault } from './place-fault.ts'
import { inboxTaskMailbox, outboxReports } from './reports-and-task-mail.ts'
import type { StartCommand } from './running-command.ts'
import { withS2 } from './s2-in-path.ts'
import { SessionsOnHost } from './sessions-on-host.ts'
import { commandStarter } from './task-command.ts'
import { type Reports, TaskLoop } from './task-loop.ts'

/** The agent behind `s2 work`: leases the tasks of this host's workers, one at a time, and runs a command for each. */
export const program: ConsoleProgram<Config> = {
  name: 'worker',
  about:
    'Runs a command or a client for each task of the workers on this host, and keeps the task leased while the command runs.',
  usage:
    '--exec CMD | --agent claude|codex [--folder DIR] [--stdin json|text] [--session SESSION] [--once] [--quiet] [--json]',
  stops: 'Ctrl-C waits for the current task to end; a second one, TERM or HUP ends the task at once.',
  readConfig,
  run: work,
}

async function work(config: Config, context: CommandContext): Promise<void> {
  process.title = 's2-work'
  const { state, folder } = config
  const { clock, chance } = context
  const place = { argv: config.command, cwd: folder, env: config.commandEnv }
  const onFault = (fault: string): void => context.tell(`s2: ${fault}\n`)
  if (config.agent === null) context.tell(warningOfTaskText(config.command))
  const spending = new DaySpending(state, clock, systemZone())
  const budget = new AgentBudget(config.agent?.budgets ?? NO_BUDGETS, spending)
  await using sessions = new SessionsOnHost(state, config.session, context)
  const draining = new AbortController()
  const stopping = new AbortController()
  using _signals = context.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) => {
    // The first Ctrl-C waits, because the current task may be an hour's work.
    if (signal !== 'SIGINT' || draining.signal.aborted) stopping.abort()
    else if (config.output !== 'json')
      context.tell('s2: stopping when the current task is done; Ctrl-C again stops it now\n')
    draining.abort()
  })
  const inbox = new Inbox(state, onFault)
  const print = eventPrinter(context, config.output)
  const troubles = new KnownTroubles()
  const log = new TaskLogWriter(state, (error) => {
    const { message } = failureOf(error)
    if (troubles.isNew('log', message)) context.tell(`s2: what tasks print is not kept: ${message}\n`)
  })
  const watch = (path: string, heard: () => void): Disposable =>
    watchFolder(path, { onEvents: heard, onDoubt: heard }, { clock, log: terseLog(context) })
  const env = await withS2(config.commandEnv, state).catch((error: unknown) => {
    context.tell(`s2: tasks do not find the command s2: ${failureOf(error).message}\n`)
    return config.commandEnv
  })
  const loop = new TaskLoop(config.work, {
    clock,
    chance,
    runId: `${PROGRAM_RUN}${randomBytes(8).toString('hex')}`,
    sessions: () => sessions.read(),
    reports: warnUncarried(outboxReports(new Outbox(state, onFault)), state, context),
    taskMessages: inboxTaskMailbox(inbox, (heard) => watch(inbox.folder('new'), heard)),
    start: starter({ ...config, commandEnv: env }, budget, context),
    words: agentWords(state, watch),
    judge: placeJudge(place, clock),
    look: () => seenFault(place) ?? budget.fault(),
    say: (event) => {
      print(event)
      if ('task' in event) log.write(event.task, logText(event, clock.wall()))
    },
    draining: draining.signal,
    stopping: stopping.signal,
  })
  await loop.work()
  await log.settled()
  if (config.work.once && loop.fault !== null && !draining.signal.aborted) {
    throw new UnavailableError(`no command can work here: ${loop.fault.why}`, 'mend that, and start s2 work again')
  }
}

function starter(
  { agent, command, commandEnv: env, folder, state, taskInput }: Config,
  budget: AgentBudget,
  context: CommandContext,
): StartCommand {
  const { clock } = context
  if (agent === null) return commandStarter(command, env, folder, clock, taskInput)
  const sessions = new TaskSessions(state, agent.client)
  void sessions.tidy(clock.wall())
  const onTrouble = (error: unknown): void =>
    context.tell(`s2: what the client did is not kept: ${failureOf(error).message}\n`)
  return clientStarter({
    driver: clientDriver(agent, s2Tools(env, state)),
    env,
    folder,
    clock,
    sessions,
    budget,
    onTrouble,
  })
}

/** Warns once when no keepalive is there to send reports: they are safe, but they wait. */
function warnUncarried(reports: Reports, state: string, context: CommandContext): Reports {
  const troubles = new KnownTroubles()
  return {
    ...reports,
    put: async (holder, report) => {
      const name = await reports.put(holder, report)
      if (!(await isKeepaliveThere(state)) && troubles.isNew('keepalive', 'away')) {
        context.tell(`s2: no s2-keepalive serves ${state}: reports wait in the outbox until one does\n`)
      }
      return name
    },
  }
}
