import type { Command } from 'commander'
import { type AgentFlags, agentArguments } from '#agents/agent-options.ts'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { becomeProgram } from '../become-program.ts'

const EXAMPLES = `
Examples:
  s2 work --agent claude --permission-mode acceptEdits --allowed-tool 'Bash(npm test)'
  s2 work --agent codex --permission-mode workspace-write --task-budget '500k tokens' --day-budget '10M tokens'
  s2 work --exec 'claude -p -- "$S2_TASK_DESCRIPTION"'
  s2 work --exec 'claude -p' --stdin text      the text alone on standard input
  s2 work --exec 'codex exec -' --once         ends when no work is left
  s2 work --exec '["./do-task","--json"]'      a JSON list is run as it is, anything else by sh

With --agent, S2 drives the client itself, in a process of its own for each task: it tells a limit of use, a login that has ended and a
busy service apart from a task that failed, goes on in the same session after a crash, and says what tools were denied. Nobody is there
to allow a tool: say what the agent may do by --permission-mode (of Claude Code; for Codex its sandbox mode) and --allowed-tool. A
task that reaches --task-budget has failed; when --day-budget is reached, the agent waits until the next day begins on its host.

The text of a task is data that somebody else wrote: put -- before it, or it may be taken for an option.

CMD runs once for each task, in a process group of its own, with the task as JSON on its standard input (or its text
alone, --stdin text) and in S2_TASK_ID, S2_TASK_DESCRIPTION, S2_TASK_PRIORITY, S2_TASK_ROLE and S2_TASK_EPOCH. Its last line of output is the
progress that others see; its exit code says whether the task is completed (0) or failed, unless it says so by \`s2 task done\` or
\`s2 task fail\`. The task stays leased (S2_LEASE)
while CMD runs; when the task is given to another agent, CMD is ended with all the processes that it started.

A task goes back, and nothing is begun for a while, where CMD cannot be started, where claude or codex says that a limit is
reached or that nobody is logged in, and where CMD ends with exit code 75. A line "retry-after: SECONDS" then says for how long.

Ctrl-C waits for the current task to end; a second one, or TERM, ends the task too, and the next start takes it up again.`

interface Options extends AgentFlags {
  readonly exec?: string
  readonly folder?: string
  readonly stdin?: string
  readonly session?: string
  readonly once?: true
  readonly quiet?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .option('--exec <cmd>', 'the command that does a task')
    .option('--agent <client>', 'the client that does tasks: claude or codex')
    .option('--model <model>', 'the model of --agent')
    .option('--permission-mode <mode>', 'what --agent may do without asking')
    .option('--allowed-tool <tool...>', 'a tool that --agent claude may use without asking; may be given again')
    .option('--task-budget <budget>', 'what --agent may use for one task: 2 USD, 500k tokens')
    .option('--day-budget <budget>', 'what --agent may use in one day; then it waits for the next one')
    .option('--folder <dir>', 'where the command runs (default: here)')
    .option('--stdin <form>', 'the task on standard input: json (default), or its text alone: text')
    .option('--session <session>', 'work for this session only, where this host has several')
    .option('--once', 'end when no work is left, or with exit code 69 when none can be done here')
    .option('--quiet', 'print only what goes wrong')
    .option('--json', 'print events as JSON, one a line')
    .addHelpText('after', EXAMPLES)
    .action(async ({ folder, stdin, session, once, quiet, json, ...what }: Options) => {
      await becomeProgram(context, 'worker', [
        ...whatWorks(what),
        ...(folder === undefined ? [] : [`--folder=${folder}`]),
        ...(stdin === undefined ? [] : [`--stdin=${stdin}`]),
        ...(session === undefined ? [] : [`--session=${session}`]),
        ...(once === true ? ['--once'] : []),
        ...(quiet === true ? ['--quiet'] : []),
        ...(json === true ? ['--json'] : []),
      ])
    })
}

/** What does the tasks, as arguments of the worker. */
function whatWorks({ exec, ...flags }: Pick<Options, 'exec'> & AgentFlags): string[] {
  if (exec === undefined && flags.agent === undefined)
    throw new UsageError('missing --exec or --agent', "for example --agent claude, or --exec './do-task'")
  return [...(exec === undefined ? [] : [`--exec=${exec}`]), ...agentArguments(flags)]
}
