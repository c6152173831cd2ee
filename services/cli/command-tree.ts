import type { Command, CommanderError } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, failureOf, formatFailure } from '#console/failure.ts'
import { plain } from '#console/terminal-text.ts'
import { textHead, textTail } from '#fleet/cut-text.ts'
import { redact } from '#fleet/redact.ts'
import { priorityMarkFor } from '#runtime/journal-priority.ts'
import { VERSION } from '#runtime/version.ts'
import { runLeanCommand } from './lean-commands.ts'

/** The module of a command: it adds arguments, options, examples and the action to a command that has its name. */
interface CommandModule {
  define(command: Command, context: CommandContext): void
}

interface Entry {
  readonly name: string
  readonly about: string
  readonly load: () => Promise<CommandModule>
}

/** Only the module of the command that is called is loaded, because start-up time counts. */
const COMMANDS: readonly Entry[] = [
  { name: 'up', about: 'bring up a fleet on this machine and keep it running', load: () => import('./commands/up.ts') },
  {
    name: 'status',
    about: 'show which agents are alive, what they work on, and what waits',
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'worker',
    about: 'let hosts join the fleet, list, rename and revoke them',
    load: () => import('./commands/worker.ts'),
  },
  { name: 'agent', about: 'list the agents that can be written to', load: () => import('./commands/agent.ts') },
  {
    name: 'observer',
    about: 'make credentials that only read, for dashboards',
    load: () => import('./commands/observer.ts'),
  },
  {
    name: 'conversation',
    about: 'list and end the channels between orchestrator and workers; open one for a foreign agent',
    load: () => import('./commands/conversation.ts'),
  },
  { name: 'credential', about: 'give a session a new token', load: () => import('./commands/credential.ts') },
  {
    name: 'send',
    about: 'send a message to another agent, or to all of a role',
    load: () => import('./commands/send.ts'),
  },
  {
    name: 'message',
    about: 'show how far a message has come, and decide on dead letters',
    load: () => import('./commands/message.ts'),
  },
  { name: 'check', about: 'read the messages that came to this host', load: () => import('./commands/check.ts') },
  {
    name: 'task',
    about: 'add, list, show and cancel tasks; take and end them by hand',
    load: () => import('./commands/task.ts'),
  },
  {
    name: 'mcp',
    about: 'be the MCP server of an agent: the tools of the fleet, over standard input and output',
    load: () => import('./commands/mcp.ts'),
  },
  { name: 'cost', about: 'show what agents used: tokens and money', load: () => import('./commands/cost.ts') },
  { name: 'logs', about: 'show what tasks print on this host', load: () => import('./commands/logs.ts') },
  {
    name: 'work',
    about: 'be an agent: run a command, or drive a client, for each task',
    load: () => import('./commands/work.ts'),
  },
  {
    name: 'reserve',
    about: 'reserve files of a repository, so that no other agent changes them',
    load: () => import('./commands/reserve.ts'),
  },
  { name: 'release', about: 'release files that were reserved', load: () => import('./commands/release.ts') },
  {
    name: 'reservations',
    about: 'show which agents have which files, and until when',
    load: () => import('./commands/reservations.ts'),
  },
  {
    name: 'hooks',
    about: 'let clients of agents and git call S2: put its hooks in, and take them away',
    load: () => import('./commands/hooks.ts'),
  },
  {
    name: 'hook',
    about: 'answer the hook of a client (its settings call this)',
    load: () => import('./commands/hook.ts'),
  },
  {
    name: 'wake-test',
    about: 'try each way to wake the agents of this host',
    load: () => import('./commands/wake-test.ts'),
  },
  {
    name: 'guard',
    about: 'let a person allow an agent to run guarded commands',
    load: () => import('./commands/guard.ts'),
  },
  {
    name: 'answer',
    about: 'answer the permission prompt of an agent from afar',
    load: () => import('./commands/answer.ts'),
  },
  {
    name: 'freeze',
    about: 'pause all processes of an agent of a local fleet',
    load: () => import('./commands/freeze.ts'),
  },
  { name: 'thaw', about: 'let a frozen or killed agent run again', load: () => import('./commands/thaw.ts') },
  { name: 'kill', about: 'kill an agent of a local fleet and keep it down', load: () => import('./commands/kill.ts') },
  {
    name: 'health',
    about: 'show whether the programs of this host can work',
    load: () => import('./commands/health.ts'),
  },
  {
    name: 'incident',
    about: 'list what went wrong; open and close for programs',
    load: () => import('./commands/incident.ts'),
  },
  {
    name: 'alert',
    about: 'test the channels by which people are alerted',
    load: () => import('./commands/alert.ts'),
  },
  {
    name: 'audit',
    about: 'show, search, export and verify the trail of all acts',
    load: () => import('./commands/audit.ts'),
  },
  {
    name: 'backup',
    about: 'back up the database, also while programs use it',
    load: () => import('./commands/backup.ts'),
  },
  { name: 'restore', about: 'replace the database with a backup', load: () => import('./commands/restore.ts') },
  {
    name: 'import',
    about: "bring over what another bridge's file holds and the database does not",
    load: () => import('./commands/import.ts'),
  },
  { name: 'init', about: 'write the first settings of this host', load: () => import('./commands/init.ts') },
  {
    name: 'certificate',
    about: "show the bridge's certificate",
    load: () => import('./commands/certificate.ts'),
  },
  {
    name: 'keys',
    about: 'make the keys that a fleet needs, as those of the bridge',
    load: () => import('./commands/keys.ts'),
  },
  {
    name: 'config',
    about: 'show the settings in force and where they come from',
    load: () => import('./commands/show-config.ts'),
  },
]

const NOTES = `
Exit codes: 0 done, 1 failed, 64 called the wrong way, 69 what it needs is not there, 78 wrong settings.
Every command has --json and --help.`

/** Runs one command line and answers its exit code. Never throws. */
export async function s2(argv: readonly string[], context: CommandContext): Promise<number> {
  const json = argv.includes('--json')
  const lean = await runLeanCommand(argv, context)
  if (lean !== null) return lean
  try {
    const program = await programFor(argv, context, json)
    await program.parseAsync(isHelpOnNothing(argv) ? argv.slice(1) : argv, { from: 'user' })
    return EXIT.done
  } catch (error) {
    if (error instanceof Exit) return error.code
    // commander has printed its own message already, except for --json
    if (isCommanders(error)) return usage(error, context, json)
    const failure = failureOf(error)
    context.tell(priorityMarkFor(2, context.env)('error', formatFailure(failure, json)))
    return failure.exit
  }
}

/** `help` with an unknown command: answered with the error for that command, not with the whole help. */
function isHelpOnNothing([first, second]: readonly string[]): boolean {
  return first === 'help' && second !== undefined && !COMMANDS.some(({ name }) => name === second)
}

function isCommanders(error: unknown): error is CommanderError {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('commander.')
}

function usage(error: CommanderError, context: CommandContext, json: boolean): number {
  if (error.exitCode === 0) return EXIT.done
  if (json) {
    const message = withoutMiddle(redact(error.message.replace(/^error: /, '')))
    context.tell(formatFailure({ exit: EXIT.usage, code: 'usage', message, next: undefined }, true))
  }
  return EXIT.usage
}

/** Characters of an error about arguments at its two ends: what was typed, which it repeats, stands between them. */
const ENDS_MAX = 300

function withoutMiddle(text: string): string {
  return text.length <= 2 * ENDS_MAX ? text : `${textHead(text, ENDS_MAX)}…${textTail(text, ENDS_MAX)}`
}

async function programFor(argv: readonly string[], context: CommandContext, json: boolean): Promise<Command> {
  const { Command } = await import('commander')
  const program = new Command('s2')
    .description('Keeps a fleet of AI coding agents working when nobody watches.')
    .version(VERSION, '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .addHelpText('after', NOTES)
    .showHelpAfterError('  next: add --help to see its arguments')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.print(text),
      writeErr: (text) => {
        if (!json) context.tell(text)
      },
      outputError: (text, write) => write(withoutMiddle(plain(redact(text.replace(/^error: /, 's2: '))))),
    })
  const [first, second] = argv.filter((word) => !word.startsWith('-'))
  const wanted = first === 'help' ? second : first
  for (const { name, about, load } of COMMANDS) {
    const command = program.command(name).description(about)
    if (name === wanted) (await load()).define(command, context)
  }
  return program
}
