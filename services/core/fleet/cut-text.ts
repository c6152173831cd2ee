/**
 * Cuts texts: always between characters, since half of a surrogate pair is no text, and the bridge refuses it. What a text came
 * with of such halves becomes U+FFFD, so that what is cut here can be sent and kept by anybody.
 */

/** Characters of a reason, such as the message of an error, that are kept and told. */
export const WHY_MAX = 300

/** The first `max` UTF-16 units, or one less where a pair stands across the cut. */
export function textHead(text: string, max: number): string {
  const end = isAcrossPair(text, max) ? max - 1 : max
  return text.slice(0, end).toWellFormed()
}

/** The last `max` UTF-16 units, or one less where a pair stands across the cut. */
export function textTail(text: string, max: number): string {
  const start = Math.max(0, text.length - max)
  return text.slice(isAcrossPair(text, start) ? start + 1 : start).toWellFormed()
}

/** Whether the units before and after this place are one character. */
function isAcrossPair(text: string, at: number): boolean {
  return at > 0 && (text.codePointAt(at - 1) ?? 0) > UNIT_MAX
}

const UNIT_MAX = 0xffff
