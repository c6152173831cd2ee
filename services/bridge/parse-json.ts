import { isUtf8 } from 'node:buffer'
import { DETAILS_DEPTH_MAX } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'

/** Reads JSON that came from outside. Throws `invalid`; its message shows nothing of the content. */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw wrong('is not UTF-8')
  const text = bytes.toString('utf8')
  // Before it is parsed: what is nested deep costs far more than its length says.
  if (isDeep(text)) throw wrong(`is nested deeper than ${DEPTH_MAX} levels`)
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

/** The deepest that the bridge is asked for are the details of an act, which stand within an object or two. */
const DEPTH_MAX = DETAILS_DEPTH_MAX + 8

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
  return JSON.stringify(value) === text
}

/** How many names of fields a valid JSON text has: outside of its strings each is followed by the only kind of colon. */
function countNamesIn(text: string): number {
  let count = 0
  lookThrough(text, (unit) => {
    if (unit === COLON) count += 1
    return true
  })
  return count
}

/** Whether brackets are open within one another so many times. */
function isDeep(text: string): boolean {
  let depth = 0
  lookThrough(text, (unit) => {
    if (unit === BRACE || unit === BRACKET) depth += 1
    else if (unit === BRACE_END || unit === BRACKET_END) depth -= 1
    return depth <= DEPTH_MAX
  })
  return depth > DEPTH_MAX
}

/** Goes through what stands outside of the strings of a JSON text, until it is answered false. */
function lookThrough(text: string, look: (unit: number) => boolean): void {
  let isInString = false
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    if (unit === QUOTE) isInString = !isInString
    else if (unit === BACKSLASH)
      at += 1 // stands in strings only
    else if (!isInString && !look(unit)) return
  }
}

const QUOTE = 34
const COLON = 58
const BACKSLASH = 92
const [BRACKET, BRACKET_END, BRACE, BRACE_END] = [91, 93, 123, 125]

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

function isWellFormed(value: unknown): boolean {
  const rest: unknown[] = [value]
  for (let each = rest.pop(); each !== undefined; each = rest.pop()) {
    if (typeof each === 'string' && !each.isWellFormed()) return false
    if (typeof each !== 'object' || each === null) continue
    for (const [name, inner] of Object.entries(each)) rest.push(name, inner)
  }
  return true
}
