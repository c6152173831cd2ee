/**
 * A wake names itself in the text that it brings to the agent, so that whoever sees that text arrive knows that it was read. The
 * name is drawn anew for each wake: a message that merely looks like a wake proves none.
 */
const WAKE = /\bS2 wake ([0-9a-f]{12})\b/g

/** The beginning of a wake's text. `id`: 12 small hexadecimal digits. */
export function wakeHead(id: string): string {
  return `S2 wake ${id}`
}

/** The wakes that a text names, in its order. */
export function wakesIn(text: string): string[] {
  return [...text.matchAll(WAKE)].flatMap(([, id]) => (id === undefined ? [] : [id]))
}
