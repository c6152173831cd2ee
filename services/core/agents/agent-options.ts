import { type Budgets, budgetText } from './budget.ts'

/** The clients that `s2 work --agent` drives. */
export const DRIVEN_CLIENTS = ['claude', 'codex'] as const
export type DrivenClient = (typeof DRIVEN_CLIENTS)[number]

/** How `s2 work --agent` starts a client. */
export interface AgentOptions {
  readonly client: DrivenClient
  /** As the client calls it; null: the one that the client is set to. */
  readonly model: string | null
  /** What the client may do without asking: Claude Code's permission mode, Codex's sandbox mode; null: as it is set. */
  readonly permissionMode: string | null
  /** Tools that Claude Code may use without asking, as its `--allowedTools` names them. */
  readonly allowedTools: readonly string[]
  readonly budgets: Budgets
}

interface AgentWords extends Omit<AgentOptions, 'client'> {
  readonly client: string
}

const MODEL = /^[A-Za-z0-9][\w./:@[\]-]{0,199}$/
/** Newer versions of Claude Code may know other modes: it refuses a wrong one itself. */
const CLAUDE_MODE = /^[A-Za-z]{1,40}$/
const SANDBOX_MODES: readonly string[] = ['read-only', 'workspace-write', 'danger-full-access']
const TOOL = /^[A-Za-z][^\p{Cc}]{0,499}$/u

/** Checks what was said of an agent. Throws an Error that says what is wrong. */
export function agentOptions({ client, model, permissionMode, allowedTools, budgets }: AgentWords): AgentOptions {
  if (client !== 'claude' && client !== 'codex')
    throw new Error(
      `there is no agent ${JSON.stringify(client)} that S2 drives: it is claude or codex; others go by exec`,
    )
  if (model !== null && !MODEL.test(model)) throw new Error(`${JSON.stringify(model)} is no name of a model`)
  if (client === 'codex' && permissionMode !== null && !SANDBOX_MODES.includes(permissionMode))
    throw new Error(`the permission mode of codex is its sandbox mode, one of ${SANDBOX_MODES.join(', ')}`)
  if (client === 'claude' && permissionMode !== null && !CLAUDE_MODE.test(permissionMode))
    throw new Error('the permission mode of claude is one of its own, for example acceptEdits')
  if (client === 'codex' && allowedTools.length > 0)
    throw new Error('codex has no allowed tools: its permission mode says what it may do')
  const bad = allowedTools.find((tool) => !TOOL.test(tool))
  if (bad !== undefined)
    throw new Error(`${JSON.stringify(bad)} is no tool that claude may be allowed, as Edit or Bash(npm test) is`)
  if (client === 'codex' && (budgets.task?.unit === 'usd' || budgets.day?.unit === 'usd'))
    throw new Error('codex says tokens and no cost: its budget is one of tokens, for example 3M tokens')
  return { client, model, permissionMode, allowedTools, budgets }
}

/** The same as options of `s2 work`; what is undefined is left out. */
export interface AgentFlags {
  readonly agent?: string | undefined
  readonly model?: string | undefined
  readonly permissionMode?: string | undefined
  readonly allowedTool?: readonly string[] | undefined
  readonly taskBudget?: string | undefined
  readonly dayBudget?: string | undefined
}

export function agentArguments(flags: AgentFlags): string[] {
  const { agent, model, permissionMode, allowedTool = [], taskBudget, dayBudget } = flags
  const words = { agent, model, 'permission-mode': permissionMode, 'task-budget': taskBudget, 'day-budget': dayBudget }
  return [
    ...Object.entries(words).flatMap(([name, word]) => (word === undefined ? [] : [`--${name}=${word}`])),
    ...allowedTool.map((tool) => `--allowed-tool=${tool}`),
  ]
}

export function flagsOf({
  client,
  model,
  permissionMode,
  allowedTools,
  budgets: { task, day },
}: AgentOptions): AgentFlags {
  return {
    agent: client,
    model: model ?? undefined,
    permissionMode: permissionMode ?? undefined,
    allowedTool: allowedTools,
    taskBudget: task === null ? undefined : budgetText(task),
    dayBudget: day === null ? undefined : budgetText(day),
  }
}
