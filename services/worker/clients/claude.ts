import type { AgentOptions } from '#agents/agent-options.ts'
import { addUsage, NO_USAGE, type Usage, usageBeyond } from '#fleet/usage.ts'
import { claudeEnding } from './claude-ending.ts'
import type { ClientDriver, ClientEnding, ClientTalk, TalkParts } from './client-driver.ts'
import { type AskedTool, askedTool } from './denied-tools.ts'
import { claudeTrust } from './folder-trust.ts'
import { S2_SERVER, type S2Tools } from './s2-tools.ts'
import { field, listOf, numberOf, shown, textOf } from './said.ts'

/**
 * Claude Code as `claude -p` with JSON lines on both sides. What it is told goes through standard input alone, and it ends when
 * that is closed.
 */
export function claudeDriver(options: Omit<AgentOptions, 'client'>, tools: S2Tools | null, zone: string): ClientDriver {
  const { model, permissionMode, allowedTools } = options
  return {
    trusts: claudeTrust,
    argv: (resumed, dollars, isTrusted) => [
      'claude',
      '-p',
      '--input-format=stream-json',
      '--output-format=stream-json',
      '--verbose',
      '--include-partial-messages',
      ...(tools === null ? [] : [`--mcp-config=${serverOf(tools)}`, `--allowedTools=mcp__${S2_SERVER}`]),
      // Without a terminal it asks nobody whether to trust a repository: it would run the hooks and servers that it names.
      ...(isTrusted ? [] : ['--setting-sources=user']),
      ...(resumed === null ? [] : [`--resume=${resumed}`]),
      ...(dollars === null ? [] : [`--max-budget-usd=${dollars.toFixed(4)}`]),
      ...(model === null ? [] : [`--model=${model}`]),
      ...(permissionMode === null ? [] : [`--permission-mode=${permissionMode}`]),
      ...allowedTools.map((tool) => `--allowedTools=${tool}`),
    ],
    talk: (parts) => new ClaudeTalk(parts, zone),
  }
}

/** For this process alone, in place of a server of that name which the user has. It hands its environment to its servers. */
function serverOf({ command: [command, ...args], env }: S2Tools): string {
  return JSON.stringify({ mcpServers: { [S2_SERVER]: { command, args, env, alwaysLoad: true } } })
}

class ClaudeTalk implements ClientTalk {
  readonly #parts: TalkParts
  readonly #zone: string
  readonly #tools = new Map<string, AskedTool>()
  #denied: AskedTool[] = []
  #error: string | null = null
  #limitEndsAt: number | null = null
  /** What the turns that have ended used. */
  #settled: Usage = NO_USAGE
  /** The same of the turn that goes on, and of each answer in it, by its id. */
  #going: Usage = NO_USAGE
  readonly #answers = new Map<string, Usage>()
  ending: ClientEnding | null = null

  constructor(parts: TalkParts, zone: string) {
    this.#parts = parts
    this.#zone = zone
  }

  get runsTool(): boolean {
    return this.#tools.size > 0
  }

  get usage(): Usage {
    return addUsage(this.#settled, this.#going)
  }

  begin(): void {
    this.#parts.send({ type: 'user', message: { role: 'user', content: this.#parts.prompt } })
  }

  interrupt(): void {
    this.#parts.send({ type: 'control_request', request_id: 's2-interrupt', request: { subtype: 'interrupt' } })
  }

  hear(message: unknown): void {
    const type = field(message, 'type')
    if (type === 'system') this.#hearSystem(message)
    else if (type === 'rate_limit_event') this.#hearLimit(field(message, 'rate_limit_info'))
    else if (type === 'stream_event') this.#parts.noteWork()
    else if (type === 'assistant') this.#hearAssistant(message)
    else if (type === 'user') this.#hearTools(listOf(field(field(message, 'message'), 'content')))
    else if (type === 'result') this.#hearResult(message)
  }

  #hearSystem(message: unknown): void {
    const subtype = field(message, 'subtype')
    const session = textOf(field(message, 'session_id'))
    if (subtype === 'init' && session !== null) this.#parts.noteSession(session)
    if (subtype === 'api_retry') {
      this.#error = textOf(field(message, 'error'))
      const [status, attempt, most] = ['error_status', 'attempt', 'max_retries'].map((each) =>
        shown(field(message, each)),
      )
      const error = shown(this.#error)
      this.#parts.show(`the service refuses (${status}, ${error}): it is tried again, ${attempt} of ${most}`)
    }
    if (subtype === 'permission_denied') {
      const id = textOf(field(message, 'tool_use_id')) ?? ''
      const tool = this.#tools.get(id) ?? askedTool(textOf(field(message, 'tool_name')) ?? 'a tool', {})
      this.#denied.push(tool)
      this.#parts.show(`permission denied for ${tool.line}`)
    }
  }

  #hearLimit(info: unknown): void {
    const seconds = numberOf(field(info, 'resetsAt'))
    if (field(info, 'status') === 'rejected') this.#limitEndsAt = seconds === 0 ? null : seconds * 1000
  }

  #hearAssistant(message: unknown): void {
    this.#error = textOf(field(message, 'error'))
    if (this.#error === null) this.#parts.noteWork()
    const answer = field(message, 'message')
    this.#count(textOf(field(answer, 'id')) ?? '', ofTurn(field(answer, 'usage')))
    for (const block of listOf(field(answer, 'content'))) {
      const [type, text, name] = ['type', 'text', 'name'].map((each) => textOf(field(block, each)))
      if (type === 'text' && text !== null && text !== undefined) this.#parts.show(text)
      if (type === 'tool_use' && name !== null && name !== undefined) {
        const tool = askedTool(name, field(block, 'input'))
        this.#tools.set(textOf(field(block, 'id')) ?? tool.line, tool)
        this.#parts.show(tool.line)
      }
    }
  }

  /** Of an answer that comes in pieces the last one counts. */
  #count(id: string, usage: Usage): void {
    this.#going = addUsage(usageBeyond(this.#going, this.#answers.get(id) ?? NO_USAGE), usage)
    this.#answers.set(id, usage)
  }

  /** A tool that went well after a denied one is a way around it. */
  #hearTools(content: readonly unknown[]): void {
    for (const block of content) {
      if (field(block, 'type') !== 'tool_result') continue
      this.#parts.noteWork()
      this.#tools.delete(textOf(field(block, 'tool_use_id')) ?? '')
      if (field(block, 'is_error') !== true) this.#denied = []
    }
  }

  #hearResult(result: unknown): void {
    this.#tools.clear()
    this.#answers.clear()
    this.#going = NO_USAGE
    this.#settled = addUsage(this.#settled, usageOf(result))
    this.ending = claudeEnding(
      result,
      {
        error: this.#error,
        limitEndsAt: this.#limitEndsAt,
        denied: this.#denied,
        isResumed: this.#parts.resumed !== null,
      },
      this.#parts.now(),
      this.#zone,
    )
    this.#parts.finish()
  }
}

/** What was used since the result before. A session that goes on counts what it used in its former lives in its totals. */
function usageOf(result: unknown): Usage {
  const models = Object.values((field(result, 'model_usage_since_last_result') ?? {}) as object)
  const none: Usage = { ...NO_USAGE, costUsd: 0, turns: 1 }
  if (models.length === 0) return { ...ofTurn(field(result, 'usage')), turns: 1 }
  return models.reduce<Usage>((sum, model) => addUsage(sum, ofModel(model)), none)
}

function ofModel(model: unknown): Usage {
  const [fresh, made, cachedTokens, outputTokens, costUsd] = [
    'inputTokens',
    'cacheCreationInputTokens',
    'cacheReadInputTokens',
    'outputTokens',
    'costUSD',
  ].map((name) => numberOf(field(model, name))) as [number, number, number, number, number]
  return { inputTokens: fresh + made + cachedTokens, outputTokens, cachedTokens, costUsd, turns: 0 }
}

/** Older versions say what a turn used, and its cost only as a total, which may hold that of former lives. */
function ofTurn(usage: unknown): Usage {
  const [fresh, made, cachedTokens, outputTokens] = [
    'input_tokens',
    'cache_creation_input_tokens',
    'cache_read_input_tokens',
    'output_tokens',
  ].map((name) => numberOf(field(usage, name))) as [number, number, number, number]
  return { inputTokens: fresh + made + cachedTokens, outputTokens, cachedTokens, costUsd: null, turns: 0 }
}
