import type { HookEvent } from '#agents/hook-event.ts'
import { type ClientFields, objectOf, shortWord } from '#agents/whole-fields.ts'
import { textHead, WHY_MAX } from '#fleet/cut-text.ts'
import { promptLine } from '#fleet/prompt-name.ts'
import { redact } from '#fleet/redact.ts'
import { parseObject } from '#spool/plain-file.ts'

/** A permission prompt of a client that may be answered from afar. */
export interface PermissionPrompt {
  readonly name: string
  /** One line for people: its name, the tool, and what the tool is given. */
  readonly what: string
  /** All that the tool is given is shown. Nobody may allow what nobody has seen. */
  readonly isWhole: boolean
}

const MORE = '…'
/** Dialogs with answers of their own, which are no permissions. */
const OTHER_DIALOGS = new Set(['AskUserQuestion', 'ExitPlanMode'])

/**
 * Names the prompt that a hook was told of. `input`: all that the client gave its hook. Null for a dialog of another kind, and where the
 * input did not come whole.
 */
export function namePrompt(event: HookEvent, input: string, chance: Uint8Array): PermissionPrompt | null {
  const fields = fieldsIn(input)
  const tool = shortWord(fields.tool_name)
  if (tool === null || OTHER_DIALOGS.has(tool)) return null
  const name = Buffer.from(chance).toString('hex').slice(0, 12)
  const given = promptLine(name, `${tool}: ${givenTo(tool, objectOf(fields.tool_input), event.what)}`)
  const line = redact(given)
  if (line === given && line.length <= WHY_MAX) return { name, what: line, isWhole: true }
  return { name, what: `${textHead(line, WHY_MAX - MORE.length)}${MORE}`, isWhole: false }
}

function fieldsIn(input: string): ClientFields {
  try {
    return parseObject(input)
  } catch {
    return {}
  }
}

/** The one thing that it is given, where one line shows it as it is; else all of it, with every character that nobody sees escaped. */
function givenTo(tool: string, input: ClientFields, what: string | null): string {
  const { description: _, ...rest } = input
  const [only, ...others] = Object.values(rest)
  const isPlain = typeof only === 'string' && others.length === 0 && what === `permission prompt: ${tool}: ${only}`
  if (isPlain) return only
  return JSON.stringify(input).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${each.codePointAt(0)?.toString(16)}}`)
}

/** Whether all that the tool is given can be read there. */
export function isShownWhole(what: string): boolean {
  return !what.endsWith(MORE)
}
