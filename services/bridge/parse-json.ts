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
  // Half a surrogate pair is valid JSON but no valid text: databases would keep it in different ways.
  if (SURROGATE_ESCAPE.test(text) && !isWellFormed(value)) throw wrong('has a text with half a character in it')
  return value
}

const SURROGATE_ESCAPE = /\\ud[89a-f]/i

function wrong(why: string): S2Error {
  return new S2Error('invalid', `the body ${why}`, { next: 'send one JSON object in UTF-8' })
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
