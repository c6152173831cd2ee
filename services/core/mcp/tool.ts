import { ANY_SPEAKER, type Member, type Speaker } from '#member/member.ts'
import type { FieldSchema, InputSchema } from './tool-input.ts'

export type ToolInput = Readonly<Record<string, unknown>>

/** A tool of the door: what clients are shown of it, and what it does by a member. */
export interface Tool {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly inputSchema: InputSchema
  /** `reads`: it changes nothing; `adds`: it adds, and takes nothing away; `ends`: it ends something for good. */
  readonly effect: 'reads' | 'adds' | 'ends'
  /** Whether the same call again changes nothing more. */
  readonly isRepeatable: boolean
  /** Answers plain data. Throws `S2Error`. */
  call(member: Member, input: ToolInput): Promise<object>
}

/** The arguments by which prompts for the Python bridge say who speaks; the credential of a host says it too. */
export const SPEAKER_FIELDS = {
  conversation_id: { type: 'string', maxLength: 64, description: 'Leave out: this host knows it.' },
  session_id: { type: 'string', enum: ['a', 'b'], description: 'Leave out: this host knows it.' },
  token: { type: 'string', maxLength: 512, description: 'Leave out: this host has it.' },
} as const satisfies Readonly<Record<string, FieldSchema>>

export function inputOf(
  properties: Readonly<Record<string, FieldSchema>>,
  required: readonly string[] = [],
): InputSchema {
  return { type: 'object', properties, ...(required.length === 0 ? {} : { required }), additionalProperties: false }
}

export function speakerIn(input: ToolInput): Speaker {
  return {
    conversation: textIn(input, 'conversation_id') ?? ANY_SPEAKER.conversation,
    side: (textIn(input, 'session_id') as 'a' | 'b' | null) ?? ANY_SPEAKER.side,
    token: textIn(input, 'token') ?? ANY_SPEAKER.token,
  }
}

/** A text that was given; null where it was left out or is empty. The schema has been checked. */
export function textIn(input: ToolInput, name: string): string | null {
  const value = input[name]
  return typeof value === 'string' && value !== '' ? value : null
}

export function numberIn(input: ToolInput, name: string): number | null {
  const value = input[name]
  return typeof value === 'number' ? value : null
}

export function listIn<T>(input: ToolInput, name: string): readonly T[] {
  const value = input[name]
  return Array.isArray(value) ? (value as T[]) : []
}
