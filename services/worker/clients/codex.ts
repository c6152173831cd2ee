import type { AgentOptions } from '#agents/agent-options.ts'
import { NO_USAGE, type Usage } from '#fleet/usage.ts'
import { VERSION } from '#runtime/version.ts'
import type { ClientDriver, ClientEnding, ClientTalk, TalkParts } from './client-driver.ts'
import { codexFailure, fullUntil } from './codex-ending.ts'
import { deniedByMode } from './denied-tools.ts'
import { codexTrust } from './folder-trust.ts'
import { S2_SERVER, type S2Tools } from './s2-tools.ts'
import { field, numberOf, textOf } from './said.ts'
import { toolLine } from './tool-line.ts'

/**
 * Codex as `codex app-server`, JSON-RPC by lines on standard input and output. Nobody is there who could be asked, so it asks for no
 * approvals (`approvalPolicy: never`), and requests that come all the same are declined.
 */
export function codexDriver(options: CodexOptions, tools: S2Tools | null, zone: string): ClientDriver {
  const argv = (): [string, string] => ['codex', 'app-server']
  return { argv, trusts: codexTrust, talk: (parts) => new CodexTalk(parts, { ...options, tools }, zone) }
}

type CodexOptions = Pick<AgentOptions, 'model' | 'permissionMode'>

/** What its own tools are called for people. */
const TOOLS: Readonly<Record<string, string>> = { commandExecution: 'shell', fileChange: 'edit', webSearch: 'search' }
/** Items that are no tools. */
const NO_TOOLS = ['reasoning', 'plan', 'contextCompaction', 'hookPrompt']

type Answered = (result: unknown) => void

class CodexTalk implements ClientTalk {
  readonly #parts: TalkParts
  readonly #options: CodexOptions & { readonly tools: S2Tools | null }
  readonly #zone: string
  readonly #asked = new Map<number, { readonly then: Answered; readonly otherwise: Answered }>()
  readonly #tools = new Set<string>()
  #calls = 0
  #thread: string | null = null
  #turn: string | null = null
  #text = ''
  #denied: string[] = []
  #limitEndsAt: number | null = null
  /** The thread's totals when this talk began: those of former lives. */
  #before: Usage | null = null
  usage: Usage = NO_USAGE
  ending: ClientEnding | null = null

  constructor(parts: TalkParts, options: CodexOptions & { readonly tools: S2Tools | null }, zone: string) {
    this.#parts = parts
    this.#options = options
    this.#zone = zone
  }

  get runsTool(): boolean {
    return this.#tools.size > 0
  }

  begin(): void {
    const clientInfo = { name: 's2', title: 'S2', version: VERSION }
    this.#ask('initialize', { clientInfo }, () => {
      this.#parts.send({ method: 'initialized' })
      this.#giveTools()
    })
  }

  /**
   * In place of a server of that name which the user starts by a command, and which may serve another state folder. One that is reached
   * by an address stays: Codex mixes the two, and takes neither then.
   */
  #giveTools(): void {
    const { tools } = this.#options
    const without = (): void => this.#openThread({})
    const within: Answered = (result) => {
      const known = field(field(field(result, 'config'), 'mcp_servers'), S2_SERVER)
      const isReached = textOf(field(known, 'url')) !== null
      this.#openThread(isReached || tools === null ? {} : serverOf(tools))
    }
    if (tools === null) without()
    else this.#ask('config/read', { cwd: this.#parts.folder }, within, without)
  }

  interrupt(): void {
    if (this.#thread !== null && this.#turn !== null)
      this.#ask('turn/interrupt', { threadId: this.#thread, turnId: this.#turn }, () => undefined)
  }

  hear(message: unknown): void {
    const method = textOf(field(message, 'method'))
    const id = field(message, 'id')
    if (method === null) this.#hearAnswer(id, message)
    else if (id === undefined) this.#hearNews(method, field(message, 'params'))
    else this.#decline(method, id)
  }

  #hearAnswer(id: unknown, message: unknown): void {
    if (typeof id !== 'number') return
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    const error = field(message, 'error')
    if (error === undefined) asked?.then(field(message, 'result'))
    else asked?.otherwise(error)
  }

  #ask(method: string, params: object, then: Answered, otherwise: Answered = (error) => this.#fail(error)): void {
    this.#calls += 1
    this.#asked.set(this.#calls, { then, otherwise })
    this.#parts.send({ id: this.#calls, method, params })
  }

  #openThread(tools: object): void {
    const { resumed, folder, isTrusted } = this.#parts
    const { model, permissionMode } = this.#options
    const config = { ...tools, ...(isTrusted ? {} : distrusted(folder)) }
    const settings = {
      cwd: folder,
      approvalPolicy: 'never',
      ...(Object.keys(config).length === 0 ? {} : { config }),
      ...(model === null ? {} : { model }),
      ...(permissionMode === null ? {} : { sandbox: permissionMode }),
    }
    const began: Answered = (result) => this.#startTurn(textOf(field(field(result, 'thread'), 'id')))
    if (resumed === null) this.#ask('thread/start', settings, began)
    else
      this.#ask('thread/resume', { threadId: resumed, excludeTurns: true, ...settings }, began, () =>
        this.#end({ is: 'no_session' }),
      )
  }

  #startTurn(thread: string | null): void {
    if (thread === null) {
      this.#end({ is: 'failed', why: 'codex named no thread' })
      return
    }
    this.#thread = thread
    this.#parts.noteSession(thread)
    const input = [{ type: 'text', text: this.#parts.prompt }]
    this.#ask('turn/start', { threadId: thread, input }, (result) => {
      this.#turn = textOf(field(field(result, 'turn'), 'id'))
    })
  }

  /** Codex asks for something that only a person may allow. */
  #decline(method: string, id: unknown): void {
    if (method.endsWith('requestApproval')) {
      this.#denied.push(method.split('/')[1] ?? method)
      this.#parts.send({ id, result: { decision: 'decline' } })
    } else this.#parts.send({ id, error: { code: -32601, message: 'nobody is there to answer' } })
  }

  #hearNews(method: string, params: unknown): void {
    if (field(params, 'threadId') !== undefined && field(params, 'threadId') !== this.#thread) return
    if (/delta$/i.test(method)) this.#parts.noteWork()
    else if (method === 'item/started') this.#hearItem(field(params, 'item'), false)
    else if (method === 'item/completed') this.#hearItem(field(params, 'item'), true)
    else if (method === 'thread/tokenUsage/updated') this.#hearTokens(field(params, 'tokenUsage'))
    else if (method === 'account/rateLimits/updated')
      this.#limitEndsAt = fullUntil(field(params, 'rateLimits')) ?? this.#limitEndsAt
    else if (method === 'error' && field(params, 'willRetry') === true)
      this.#parts.show(textOf(field(field(params, 'error'), 'message')) ?? 'it is tried again')
    else if (method === 'turn/completed') this.#hearEnd(field(params, 'turn'))
  }

  #hearItem(item: unknown, isOver: boolean): void {
    const type = textOf(field(item, 'type')) ?? ''
    if (type === 'userMessage') return
    this.#parts.noteWork()
    if (type !== 'agentMessage') this.#hearTool(item, type, isOver)
    else if (isOver) {
      this.#text = textOf(field(item, 'text')) ?? ''
      this.#parts.show(this.#text)
    }
  }

  /** A tool that went well after a denied one is a way around it. */
  #hearTool(item: unknown, type: string, isOver: boolean): void {
    if (NO_TOOLS.includes(type)) return
    const id = textOf(field(item, 'id')) ?? type
    const line = toolLine(textOf(field(item, 'tool')) ?? TOOLS[type] ?? type, item)
    if (!isOver) {
      this.#tools.add(id)
      this.#parts.show(line)
      return
    }
    this.#tools.delete(id)
    const status = field(item, 'status')
    if (status === 'declined') this.#denied.push(line)
    else if (status === 'completed') this.#denied = []
  }

  #hearTokens(tokens: unknown): void {
    const total = tokensOf(field(tokens, 'total'))
    // What the thread used in former lives is the total before the first answer of this one.
    this.#before ??= this.#parts.resumed === null ? NO_USAGE : difference(total, tokensOf(field(tokens, 'last')))
    this.usage = { ...difference(total, this.#before), turns: this.usage.turns }
  }

  #hearEnd(turn: unknown): void {
    this.#tools.clear()
    this.usage = { ...this.usage, turns: this.usage.turns + 1 }
    this.#end(this.#endingOf(turn))
  }

  #endingOf(turn: unknown): ClientEnding {
    const status = textOf(field(turn, 'status'))
    if (status === 'failed') return codexFailure(field(turn, 'error'), this.#limitEndsAt, this.#parts.now(), this.#zone)
    if (status !== 'completed') return { is: 'failed', why: `the turn was ${status ?? 'left'}` }
    if (this.#denied.length === 0) return { is: 'done', text: this.#text }
    return { is: 'failed', why: deniedByMode(this.#denied, this.#text, this.#options.permissionMode) }
  }

  #fail(error: unknown): void {
    this.#end({ is: 'sick', why: `codex: ${textOf(field(error, 'message')) ?? 'it refused a request'}`, until: null })
  }

  #end(ending: ClientEnding): void {
    this.ending ??= ending
    this.#parts.finish()
  }
}

function serverOf({ command: [command, ...args], env, envNames }: S2Tools): object {
  return { [`mcp_servers.${S2_SERVER}`]: { command, args, env, env_vars: envNames } }
}

/** Else it notes the folder as trusted for good, and starts the servers that files there name. */
function distrusted(folder: string): object {
  return { projects: { [folder]: { trust_level: 'untrusted' } } }
}

function tokensOf(tokens: unknown): Usage {
  const [inputTokens, outputTokens, cachedTokens] = ['inputTokens', 'outputTokens', 'cachedInputTokens'].map((name) =>
    numberOf(field(tokens, name)),
  ) as [number, number, number]
  return { inputTokens, outputTokens, cachedTokens, costUsd: null, turns: 0 }
}

function difference(whole: Usage, part: Usage): Usage {
  return {
    ...whole,
    inputTokens: Math.max(0, whole.inputTokens - part.inputTokens),
    outputTokens: Math.max(0, whole.outputTokens - part.outputTokens),
    cachedTokens: Math.max(0, whole.cachedTokens - part.cachedTokens),
  }
}
