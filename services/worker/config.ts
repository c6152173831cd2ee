import { resolve } from 'node:path'
import { type AgentOptions, agentOptions } from '#agents/agent-options.ts'
import { type Budget, parseBudget } from '#agents/budget.ts'
import { readArguments } from '#console/console-program.ts'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { parseSession, type SessionId, sessionId } from '#fleet/session-id.ts'
import { type Env, readSettings } from '#runtime/read-settings.ts'
import { commandLine } from '#runtime/run-command.ts'
import type { TaskInput } from './task-command.ts'
import type { TaskLoopConfig } from './task-loop.ts'

export interface Config {
  readonly state: string
  /** The client that does tasks; null: a command of the user's own does. */
  readonly agent: AgentOptions | null
  /** The command that does a task, or the client's program, and its environment without that of the task. */
  readonly command: readonly [string, ...string[]]
  readonly commandEnv: Env
  /** Where the command runs. */
  readonly folder: string
  readonly taskInput: TaskInput
  /** The session whose tasks it does; null: every worker's session on this host. */
  readonly session: SessionId | null
  readonly work: TaskLoopConfig
  /** How events are printed: as text, as text and only what goes wrong, or as JSON. */
  readonly output: 'text' | 'quiet' | 'json'
}

/** How often it asks for work without a message. */
const POLL_MS = 30_000

export function readConfig(argv: readonly string[], context: CommandContext): Config {
  const { values } = readArguments('worker', argv, {
    options: {
      exec: { type: 'string' },
      agent: { type: 'string' },
      model: { type: 'string' },
      'permission-mode': { type: 'string' },
      'allowed-tool': { type: 'string', multiple: true },
      'task-budget': { type: 'string' },
      'day-budget': { type: 'string' },
      folder: { type: 'string' },
      stdin: { type: 'string' },
      session: { type: 'string' },
      once: { type: 'boolean' },
      quiet: { type: 'boolean' },
      json: { type: 'boolean' },
    },
  })
  const agent = readAgent(values)
  const env = commandEnv(context)
  const settings = readSettings(env, ['S2_STATE', 'S2_LEASE', 'S2_QUICK_FAILURE'])
  return Object.freeze({
    state: settings.S2_STATE,
    agent,
    command: agent === null ? readCommand(values.exec ?? '') : ([agent.client] as const),
    commandEnv: { ...env, S2_STATE: settings.S2_STATE },
    folder: resolve(context.folder, values.folder ?? '.'),
    taskInput: readTaskInput(values.stdin ?? 'json'),
    session: values.session === undefined ? null : readSession(values.session),
    work: {
      ...taskLoopTimes(settings.S2_LEASE),
      quickFailureMs: settings.S2_QUICK_FAILURE,
      once: values.once === true,
    },
    output: values.json === true ? 'json' : values.quiet === true ? 'quiet' : 'text',
  })
}

/** Progress is reported often enough for a live table, and seldom enough for the bridge's rate limit. */
function taskLoopTimes(leaseMs: number): Pick<TaskLoopConfig, 'leaseMs' | 'pollMs' | 'progressMs'> {
  return { leaseMs, pollMs: POLL_MS, progressMs: Math.min(2_000, Math.max(500, leaseMs / 6)) }
}

interface AgentWords {
  readonly exec?: string | undefined
  readonly agent?: string | undefined
  readonly model?: string | undefined
  readonly stdin?: string | undefined
  readonly 'permission-mode'?: string | undefined
  readonly 'allowed-tool'?: readonly string[] | undefined
  readonly 'task-budget'?: string | undefined
  readonly 'day-budget'?: string | undefined
}

/** Null where a command of the user's own does the tasks. */
function readAgent(values: AgentWords): AgentOptions | null {
  const { exec, agent: client, model = null, stdin } = values
  const [permissionMode, allowedTools] = [values['permission-mode'] ?? null, values['allowed-tool'] ?? []]
  const [taskBudget, dayBudget] = [values['task-budget'], values['day-budget']]
  if (client === undefined) {
    const words = [model, permissionMode, allowedTools[0], taskBudget, dayBudget]
    if (words.some((word) => word !== null && word !== undefined))
      throw new UsageError('--model, --permission-mode, --allowed-tool and budgets are for --agent', AGENT_EXAMPLE)
    return null
  }
  if (exec !== undefined || stdin !== undefined)
    throw new UsageError('--agent stands in place of --exec and --stdin', AGENT_EXAMPLE)
  try {
    const budgets = { task: readBudget(taskBudget), day: readBudget(dayBudget) }
    return agentOptions({ client, model, permissionMode, allowedTools, budgets })
  } catch (error) {
    throw new UsageError((error as Error).message, AGENT_EXAMPLE)
  }
}

function readBudget(text: string | undefined): Budget | null {
  return text === undefined ? null : parseBudget(text)
}

const AGENT_EXAMPLE = 'for example --agent claude --permission-mode acceptEdits'

function readCommand(text: string): readonly [string, ...string[]] {
  if (text.trim() === '') throw new UsageError('--exec names no command', 'for example --exec \'["claude","-p"]\'')
  try {
    return commandLine(text)
  } catch (error) {
    throw new UsageError(
      `--exec ${JSON.stringify(text)} ${(error as Error).message}`,
      'for example --exec \'["claude","-p"]\'',
    )
  }
}

function readTaskInput(word: string): TaskInput {
  if (word === 'json' || word === 'text') return word
  throw new UsageError(`--stdin ${JSON.stringify(word)} is no form of a task`, 'use --stdin json or --stdin text')
}

function readSession(text: string): SessionId {
  const { conversation, side } = parseSession(text)
  return sessionId(conversation, side)
}
