import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import type { ClientHooksOptions } from '../client-hooks/client-hooks-command.ts'
import type { GitHooksOptions } from '../git-hooks/git-hooks-command.ts'

const EXAMPLES = `
Examples:
  s2 hooks install --git                 git refuses commits here that touch what another agent reserved
  s2 hooks install --git --repo ~/app    the same in another checkout
  s2 hooks uninstall --git               as it was before
  s2 hooks install --agent claude --mcp  Claude Code tells S2 what it does, and has the tools of the fleet
  s2 hooks install --agent codex --trust Codex runs them, once you say yes
  s2 hooks install --agent codex --dry-run
  s2 hooks install --agent claude --agent codex --mcp
  s2 hooks status                        which clients have the hooks`

/** Each kind of hooks is an option, and has a module of its own. */
interface HooksOptions extends GitHooksOptions, ClientHooksOptions {
  readonly git?: true
}

/** A kind of hooks: what is written where, and taken away again. */
interface HookKind {
  install(context: CommandContext, options: HooksOptions): Promise<void>
  uninstall(context: CommandContext, options: HooksOptions): Promise<void>
}

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  withKinds(
    command
      .command('install')
      .description('let a client of agents tell S2 what it does, or git ask S2 before it commits'),
  )
    .option('--trust', 'with --agent codex: ask you whether codex may run them, and write your yes into its settings')
    .option('--yes', 'with --trust: a person has agreed already')
    .addHelpText('after', EXAMPLES)
    .action(async (options: HooksOptions) => await (await kindOf(options)).install(context, options))
  withKinds(command.command('uninstall').description('take the hooks away, and put back what was there before'))
    .addHelpText('after', EXAMPLES)
    .action(async (options: HooksOptions) => await (await kindOf(options)).uninstall(context, options))
  command
    .command('status')
    .description('show which clients have the hooks and the tools of S2, for you and for this folder')
    .option('--agent <client>', 'one client alone; may be given again', alsoNamed)
    .option('--json', 'print JSON')
    .action(async (options: ClientHooksOptions) => {
      await (await import('../client-hooks/client-hooks-command.ts')).clientHooksStatus(context, options)
    })
  command
    .command('run <hook>', { hidden: true })
    .option('--json', 'print JSON')
    .action(async (hook: string) => await (await import('../git-hooks/git-hooks-command.ts')).runGitHook(context, hook))
}

function withKinds(command: Command): Command {
  return command
    .option('--git', 'the hooks of a git repository: commits are checked against the files that others reserved')
    .option('--repo <folder>', 'with --git: a checkout of the repository; by default this folder')
    .option(
      '--agent <client>',
      'the hooks of a client: claude, codex, gemini or opencode; may be given again',
      alsoNamed,
    )
    .option('--user', 'with --agent: for all of your projects (the default)')
    .option('--project', 'with --agent: for this folder alone, on this machine')
    .option('--mcp', 'with --agent: also the tools of the fleet, `s2 mcp`')
    .option('--http', 'with --agent claude: keepalive answers, and no process is started for an event')
    .option('--dry-run', 'with --agent: print what would change, and change nothing')
    .option('--json', 'print JSON')
}

function alsoNamed(client: string, before: readonly string[] = []): readonly string[] {
  return [...before, client]
}

/** Only the module of the kind that is asked for is loaded. */
async function kindOf(options: HooksOptions): Promise<HookKind> {
  if (options.git === true && options.agent !== undefined)
    throw new UsageError('--git and --agent exclude each other', 'call it once for each')
  if (options.git === true) return (await import('../git-hooks/git-hooks-command.ts')).gitHooks
  if (options.agent !== undefined) return (await import('../client-hooks/client-hooks-command.ts')).clientHooks
  throw new UsageError(
    'missing what the hooks are for',
    'say --agent for a client of agents, or --git for a git repository',
  )
}
