import type { ConsoleProgram } from '#console/console-program.ts'
import { type CommandContext, ENDING_SIGNALS } from '#console/context.ts'
import { warningOfTaskText } from '#console/task-text-warning.ts'
import { commandLine } from '#runtime/run-command.ts'
import { type Config, type FleetConfig, type ReaperConfig, readConfig } from './config.ts'
import { EventReporter } from './event-reporter.ts'
import { killAll, markedBy } from './process-tree.ts'
import { startFleet } from './start-fleet.ts'

/** The supervisor behind `s2 up`: runs the programs of a whole fleet on one machine. */
export const program: ConsoleProgram<Config> = {
  name: 'local',
  about: 'Starts the programs of a fleet on this machine and keeps them running.',
  usage: 'FLEET.json [--demo] [--json]',
  stops: 'Ctrl-C, TERM or HUP lets the programs finish their present work; a second one kills them at once.',
  readConfig,
  run: async (config, context) => {
    if (config.does === 'run a fleet') await run(config, context)
    else await endOrphans(config, context)
  },
}

async function run(config: FleetConfig, context: CommandContext): Promise<void> {
  const { fleet, state, env, lifetimeMs, gitTimeoutMs } = config
  const ending = new AbortController()
  const hurry = new AbortController()
  // The first signal drains, the second kills.
  using _signals = context.onSignal(ENDING_SIGNALS, () => (ending.signal.aborted ? hurry : ending).abort())
  const reporter = new EventReporter(context, config.json)
  const own = { ...context, env }
  warnOfTaskText(fleet, context)
  await using started = await startFleet({
    fleet,
    state,
    lifetimeMs,
    gitTimeoutMs,
    context: own,
    reporter,
    ending,
    hurry: hurry.signal,
  })
  await started.run(config.demo)
}

/** Once for each exec line, however many workers have it. */
function warnOfTaskText({ workers }: FleetConfig['fleet'], context: CommandContext): void {
  const lines = new Map(workers.flatMap(({ exec, agent }) => (exec === null ? [] : [[exec, agent] as const])))
  for (const [exec, agent] of lines) context.tell(warningOfTaskText(commandWords(exec), `${agent}: `))
}

/** A line that is no command at all is told of by its worker. */
function commandWords(exec: string): readonly string[] {
  try {
    return commandLine(exec)
  } catch {
    return []
  }
}

/**
 * The orphan reaper, which a fleet's supervisor starts in a session of its own. Its standard input is a pipe that only the
 * supervisor holds: when it ends without a message, the supervisor has died, and the reaper ends the programs it left.
 */
async function endOrphans({ state }: ReaperConfig, context: CommandContext): Promise<void> {
  process.title = 's2-reaper'
  // A terminal that closes, or a Ctrl-C meant for the supervisor, must not end the reaper before its work.
  using _deaf = context.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], () => undefined)
  const word = await context.input(100)
  if (word === '') await killAll(markedBy(state), context.clock)
}
