import { randomUUID } from 'node:crypto'
import { type Answer, call, event, type ModelApi, type Question } from './model-api.ts'

interface Item {
  readonly type: string
  readonly role?: string
  readonly name?: string
  readonly content?: string | readonly { readonly text?: string }[]
  readonly arguments?: string
  readonly output?: unknown
}
interface Tool {
  readonly type: string
  readonly name?: string
  readonly tools?: readonly Tool[]
}

/** OpenAI's Responses, as Codex speaks it. */
export const responsesApi: ModelApi = {
  read(body) {
    const items = (body.input ?? []) as readonly Item[]
    const last = items.findLastIndex(({ type, role }) => role === 'assistant' || type === 'function_call')
    return {
      newest: items
        .slice(last + 1)
        .map(tell)
        .join('\n'),
      whole: [String(body.instructions ?? ''), ...items.map(tell)].join('\n'),
      tools: ((body.tools ?? []) as readonly Tool[]).flatMap(namesOf),
    }
  },
  write(answer, _question, response) {
    const id = `resp_${randomUUID()}`
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    event(response, 'response.created', { response: { id } })
    event(response, 'response.output_item.done', { output_index: 0, item: itemOf(answer) })
    const details = { input_tokens_details: null, output_tokens_details: null }
    const usage = { input_tokens: 10, output_tokens: 5, total_tokens: 15, ...details }
    event(response, 'response.completed', { response: { id, usage } })
    response.end()
  },
}

function itemOf(answer: Answer & { readonly kind: 'say' | 'call' }): object {
  if (answer.kind === 'say') {
    const content = [{ type: 'output_text', text: answer.text }]
    return { type: 'message', id: `msg_${randomUUID()}`, role: 'assistant', content }
  }
  // Tools of an MCP server are one namespace: `mcp__s2` with `take_task` in it.
  const [, namespace, inIt] = /^(mcp__.+?)__(.+)$/.exec(answer.tool) ?? []
  const named = namespace === undefined ? { name: answer.tool } : { namespace, name: inIt }
  const ids = { id: `fc_${randomUUID()}`, call_id: `call_${randomUUID()}` }
  return { type: 'function_call', ...ids, ...named, arguments: JSON.stringify(answer.input) }
}

function namesOf({ name, type, tools }: Tool): string[] {
  return tools === undefined ? [name ?? type] : tools.map((tool) => `${name}__${tool.name}`)
}

function tell({ type, role, name, content, output, ...item }: Item): string {
  if (type !== 'message') return `[${type} ${name ?? ''} ${item.arguments ?? JSON.stringify(output ?? '')}]`
  const text = typeof content === 'string' ? content : (content ?? []).map((each) => each.text ?? '').join('\n')
  return `${role}: ${text}`
}

/** A call of Codex's shell, which has another name by the model that it takes this one for. */
export function runInShell({ tools }: Question, command: string, more: object = {}): Answer {
  const tool = tools.includes('shell_command') ? 'shell_command' : 'exec_command'
  return call(tool, { command, cmd: command, ...more })
}
