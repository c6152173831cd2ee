import { isUtf8 } from 'node:buffer'
import { S2Error } from '#fleet/errors.ts'

/** Reads JSON that came from outside. Throws `invalid`; its message shows nothing of the content. */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw wrong('is not UTF-8')
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw wrong(text === '' ? 'is empty' : 'is not JSON; it may be cut short')
  }
  if (hasDoubledName(text, value)) throw wrong('names one field of an object twice')
  // Half a surrogate pair is valid JSON but no valid text: databases would keep it in different ways.
  if (SURROGATE_ESCAPE.test(text) && !isWellFormed(value)) throw wrong('has a text with half a character in it')
  return value
}

const SURROGATE_ESCAPE = /\\ud[89a-f]/i

function wrong(why: string): S2Error {
  return new S2Error('invalid', `the body ${why}`, { next: 'send one JSON object in UTF-8' })
}

/**
 * Whether an object of this text has two fields of one name: of those another reader may take the first, and we the last.
 * What is written as we write it has none; only other spellings are looked through.
 */
function hasDoubledName(text: string, value: unknown): boolean {
  return !isWrittenAsHere(text, value) && countNamesIn(text) !== countNamesOf(value)
}

function isWrittenAsHere(text: string, value: unknown): boolean {
  try {
    return JSON.stringify(value) === text
  } catch {
    return false // nested deeper than the call stack
  }
}

/** How many names of fields a valid JSON text has: outside of its strings each is followed by the only kind of colon. */
function countNamesIn(text: string): number {
  let count = 0
  let isInString = false
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    if (unit === QUOTE) isInString = !isInString
    else if (unit === BACKSLASH)
      at += 1 // stands in strings only
    else if (unit === COLON && !isInString) count += 1
  }
  return count
}

const QUOTE = 34
const COLON = 58
const BACKSLASH = 92

function countNamesOf(value: unknown): number {
  let count = 0
  const rest: unknown[] = [value]
  while (rest.length > 0) {
    const each = rest.pop()
    if (typeof each !== 'object' || each === null) continue
    if (!Array.isArray(each)) count += Object.keys(each).length
    for (const inner of Object.values(each)) rest.push(inner)
  }
  return count
}

/** Keeps its own stack: hostile JSON may be nested deeper than the call stack. */
function isWellFormed(value: unknown): boolean {
  const rest: unknown[] = [value]
  for (let each = rest.pop(); each !== undefined; each = rest.pop()) {
    if (typeof each === 'string' && !each.isWellFormed()) return false
    if (typeof each !== 'object' || each === null) continue
    for (const [name, inner] of Object.entries(each)) rest.push(name, inner)
  }
  return true
}
