import { randomUUID } from 'node:crypto'
import { event, type ModelApi } from './model-api.ts'

interface Block {
  readonly type: string
  readonly text?: string
  readonly name?: string
  readonly input?: unknown
  readonly content?: unknown
}
interface Message {
  readonly role: string
  readonly content: string | readonly Block[]
}

/** Anthropic's Messages, as Claude Code speaks it. */
export const messagesApi: ModelApi = {
  read(body) {
    const messages = (body.messages ?? []) as readonly Message[]
    const last = messages.findLastIndex(({ role }) => role === 'assistant')
    const system = textOf((body.system ?? []) as Message['content'])
    return {
      newest: messages
        .slice(last + 1)
        .map(tell)
        .join('\n'),
      whole: [system, ...messages.map(tell)].join('\n'),
      tools: ((body.tools ?? []) as readonly { name: string }[]).map(({ name }) => name),
    }
  },
  write(answer, { body }, response) {
    const stop = answer.kind === 'call' ? 'tool_use' : 'end_turn'
    const id = `msg_${randomUUID()}`
    const usage = { input_tokens: 10, output_tokens: 5 }
    const message = {
      id,
      type: 'message',
      role: 'assistant',
      model: body.model,
      stop_reason: stop,
      stop_sequence: null,
      usage,
    }
    const block =
      answer.kind === 'call'
        ? { type: 'tool_use', id: `toolu_${randomUUID()}`, name: answer.tool, input: answer.input }
        : { type: 'text', text: answer.text }
    if (body.stream !== true) {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ ...message, content: [block] }))
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    event(response, 'message_start', { message: { ...message, content: [], stop_reason: null } })
    event(response, 'content_block_start', { index: 0, content_block: emptied(block) })
    const delta =
      answer.kind === 'call'
        ? { type: 'input_json_delta', partial_json: JSON.stringify(answer.input) }
        : { type: 'text_delta', text: answer.text }
    event(response, 'content_block_delta', { index: 0, delta })
    event(response, 'content_block_stop', { index: 0 })
    event(response, 'message_delta', { delta: { stop_reason: stop, stop_sequence: null }, usage: { output_tokens: 5 } })
    event(response, 'message_stop')
    response.end()
  },
}

function emptied(block: { readonly type: string }): object {
  return block.type === 'text' ? { ...block, text: '' } : { ...block, input: {} }
}

function tell({ role, content }: Message): string {
  return `${role}: ${textOf(content)}`
}

function textOf(content: string | readonly Block[]): string {
  if (typeof content === 'string') return content
  return content.map((block) => block.text ?? `[${block.type} ${block.name ?? ''} ${inside(block)}]`).join('\n')
}

/** What a tool was asked, or answered. */
function inside({ input, content }: Block): string {
  if (input !== undefined) return JSON.stringify(input)
  return Array.isArray(content) ? textOf(content as readonly Block[]) : String(content ?? '')
}
