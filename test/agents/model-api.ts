import type { ServerResponse } from 'node:http'

/** What the model does when it is asked. */
export type Answer =
  | { readonly kind: 'say'; readonly text: string }
  /** `tool` as Claude Code names it, also to Codex: `mcp__s2__take_task`. */
  | { readonly kind: 'call'; readonly tool: string; readonly input: object }
  | {
      readonly kind: 'refuse'
      readonly status: number
      readonly type: string
      readonly text: string
      readonly headers: Readonly<Record<string, string>>
    }
  /** It takes the question and never says a word. */
  | { readonly kind: 'silence' }
  /** The connection ends in the middle of an answer. */
  | { readonly kind: 'drop' }

export const say = (text: string): Answer => ({ kind: 'say', text })
export const call = (tool: string, input: object = {}): Answer => ({ kind: 'call', tool, input })
export const silence: Answer = { kind: 'silence' }
export const drop: Answer = { kind: 'drop' }
export function refuse(status: number, type: string, text: string, headers: Record<string, string> = {}): Answer {
  return { kind: 'refuse', status, type, text, headers }
}

/** A question of a client, as the model reads it. */
export interface Question {
  readonly api: 'messages' | 'responses'
  /** The key that the client was given: it tells which client asks. */
  readonly key: string
  /** What came since the model's last answer: prompts, results of tools, contexts of hooks. */
  readonly newest: string
  /** The whole conversation, with what the system says. */
  readonly whole: string
  /** The tools that it may call, by the names that `call` takes. Claude Code asks for titles and the like without any. */
  readonly tools: readonly string[]
  readonly body: Readonly<Record<string, unknown>>
  /** Milliseconds since 1970. */
  readonly at: number
}

/** How one vendor's clients ask and are answered. */
export interface ModelApi {
  read(body: Readonly<Record<string, unknown>>): Pick<Question, 'newest' | 'whole' | 'tools'>
  write(answer: Answer & { readonly kind: 'say' | 'call' }, question: Question, response: ServerResponse): void
}

/** One event of a stream of server-sent events. */
export function event(response: ServerResponse, type: string, fields: object = {}): void {
  response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`)
}
