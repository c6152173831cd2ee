import { objectOf } from '#agents/whole-fields.ts'
import { textHead } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { isPromptName } from '#fleet/prompt-name.ts'
import { redact } from '#fleet/redact.ts'
import { parseObject } from '#spool/plain-file.ts'
import { proofOf } from './grant.ts'

export const DECISIONS = ['allow', 'deny'] as const
export type PermissionDecision = (typeof DECISIONS)[number]

/** What a person answers to a permission prompt. */
export interface PermissionAnswer {
  /** The name of the prompt. */
  readonly prompt: string
  readonly decision: PermissionDecision
  /** Told to the model where it is denied, and kept in the audit; null for none. */
  readonly reason: string | null
}

/** An answer as it comes by a message. */
export interface ProvedAnswer extends PermissionAnswer {
  readonly proof: string
}

/** What such a message is called. */
export const ANSWER_ACTION = 'permission_answer'
export const ANSWER_REASON_MAX = 500
const HEAD = 'answer to a permission prompt: '

/** What is proved: nothing of it can be changed on the way. */
export function provedText({ prompt, decision, reason }: PermissionAnswer): string {
  return JSON.stringify([prompt, decision, reason])
}

/** The text of the message. Throws `invalid` for a reason that would not arrive as it is. */
export function answerMessage(answer: PermissionAnswer, secret: string): string {
  const text = `${HEAD}${JSON.stringify({ ...answer, proof: proofOf(provedText(answer), secret) })}`
  if (redact(text) === text) return text
  throw new S2Error('invalid', 'the reason holds what looks like a secret: nothing was answered', {
    next: 'word it in another way',
  })
}

/** Reads the text of a message; null for anything else. Never throws. */
export function readAnswer(text: string): ProvedAnswer | null {
  if (!text.startsWith(HEAD)) return null
  try {
    const { prompt, decision, reason, proof } = objectOf(parseObject(text.slice(HEAD.length)))
    const known = DECISIONS.find((each) => each === decision)
    const isRead = typeof prompt === 'string' && typeof proof === 'string' && isPromptName(prompt)
    if (!isRead || known === undefined) return null
    return { prompt, decision: known, reason: typeof reason === 'string' ? reason : null, proof }
  } catch {
    return null
  }
}

/** What Claude Code reads from its hook. */
export function decisionText({ decision, reason }: PermissionAnswer): string {
  const message = textHead(reason ?? 'A person has denied it from afar.', ANSWER_REASON_MAX)
  const said = decision === 'allow' ? { behavior: 'allow' } : { behavior: 'deny', message }
  return JSON.stringify({ hookSpecificOutput: { hookEventName: 'PermissionRequest', decision: said } })
}
