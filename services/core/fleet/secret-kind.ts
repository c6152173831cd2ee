import { isMadeUp } from './secret-value.ts'

/**
 * What secrets look like. A pattern is tried only where one of its keywords stands, and only there, so every repetition in
 * it is either of one class of characters or bounded: time grows with the length of the text and nothing else.
 */
export interface SecretKind {
  /** What the mark calls it. */
  readonly name: string
  /** In lower case; one of them begins wherever the pattern does. */
  readonly keywords: readonly string[]
  /** Sticky. The group `secret`, or all of it, is the secret, and ends the match. */
  readonly pattern: RegExp
  /** Who says that it looks so. */
  readonly source: string
  /** What fits the pattern may still be none. */
  readonly accepts: (secret: string) => boolean
  /** Says only where secrets stand; a kind that knows the secret by its own form has a better name for it. */
  readonly isBroad: boolean
}

/**
 * Before a token: no letter of a longer word. Escapes of JSON, of URLs and of terminals end in letters, and count as nothing:
 * in a JSON text the line break before a token is `\n`.
 */
const START = String.raw`(?<=^|[^\w-]|\\[nrtbf]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\[[\d;]{0,12}m)`
export const END = '(?![A-Za-z0-9])'

interface Look {
  /** Stands before the pattern; a token may begin in no word. */
  readonly start?: string
  /** Upper and lower case are the same. */
  readonly ignoresCase?: boolean
  readonly accepts?: (secret: string) => boolean
  readonly isBroad?: boolean
}

/** A kind of secret, for the table; keywords are a list where a blank belongs to one. */
export function secretKind(
  name: string,
  keywords: string | readonly string[],
  pattern: string,
  source: string,
  look: Look = {},
): SecretKind {
  const { start = START, ignoresCase = false, accepts = (secret) => !isMadeUp(secret), isBroad = false } = look
  const flags = ignoresCase ? 'iy' : 'y'
  return {
    name,
    keywords: typeof keywords === 'string' ? keywords.split(' ') : keywords,
    pattern: new RegExp(`${start}(?:${pattern})`, flags),
    source,
    accepts,
    isBroad,
  }
}
