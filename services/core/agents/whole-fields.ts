import { parseObject } from '#spool/plain-file.ts'

/** The fields of a JSON object, none of which is known to be what it should be. */
export type ClientFields = Readonly<Record<string, unknown>>

const WORD_MAX = 100

/** A short word; null where a value is none, or bears what steers a terminal. */
export function shortWord(value: unknown): string | null {
  return typeof value === 'string' && value !== '' && value.length <= WORD_MAX && !/\p{C}/u.test(value) ? value : null
}

/** The fields of a value; none where it is no object. */
export function objectOf(value: unknown): ClientFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ClientFields) : {}
}

/** Whether a text can be a client's id of a session: it becomes a part of a file's name. */
export function isClientId(text: string): boolean {
  return /^[\w.:-]{1,128}$/.test(text)
}

/**
 * The fields of a JSON object of which the end may be missing: those that came whole. Null for anything else. Never throws, and reads
 * the text once.
 */
export function wholeFieldsOf(text: string): ClientFields | null {
  return parsed(text) ?? parsed(mendedEnd(text))
}

function parsed(text: string): ClientFields | null {
  try {
    return parseObject(text)
  } catch {
    return null
  }
}

/** The text up to the last field of the object itself that is whole, closed there. */
function mendedEnd(text: string): string {
  let depth = 0
  let lastComma = -1
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at]
    if (char === '"') at = endOfString(text, at)
    else if (char === '{' || char === '[') depth += 1
    else if (char === '}' || char === ']') depth -= 1
    else if (char === ',' && depth === 1) lastComma = at
  }
  return lastComma < 0 ? '' : `${text.slice(0, lastComma)}}`
}

/** Where a string that begins here ends; the text's end where it does not. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at
}
