import { roughDuration } from '#runtime/duration.ts'

/**
 * Replaces the control characters of a text, so that a message cannot move the cursor, change colours or rename the
 * window of a terminal. Characters that turn the order of others or that nobody sees are shown by their codes.
 */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g, '·').replace(UNSEEN, codeOf)
}

/** Marks of direction, tags and fillers; not the joiners that scripts and emoji are written with. */
const UNSEEN =
  /[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu

function codeOf(character: string): string {
  return `<U+${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}>`
}

/** The same, on one line. */
export function oneLine(text: string): string {
  return plain(text.replace(/\s+/g, ' ').trim())
}

/** A text of somebody else's with its lines indented, so that none of them can pass for a line of ours. */
export function indented(text: string): string {
  return plain(text).replace(/^(?=.)/gm, '  ')
}

/** How many columns a text takes: wide characters (Unicode Standard Annex 11, emoji) take two, combining marks none. */
export function widthOf(text: string): number {
  let width = 0
  for (const { segment } of graphemes(text)) width += WIDE.test(segment) ? 2 : 1
  return width
}

/** Cuts a text to a width; the last column shows that it was cut. */
export function cut(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text
  let kept = ''
  let width = 0
  for (const { segment } of graphemes(text)) {
    width += widthOf(segment)
    if (width > columns - 1) break
    kept += segment
  }
  return columns < 1 ? '' : `${kept}…`
}

export function pad(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - widthOf(text)))
}

/** The characters as a terminal shows them. The segmenter is made on first use: it costs milliseconds. */
function graphemes(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter('en', { granularity: 'grapheme' })
  return segmenter.segment(text)
}

let segmenter: Intl.Segmenter | undefined
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u

/** A duration for people: `0.4s`, `12s`, `3m`, `2h 5m`, `4d`. */
export function ago(ms: number): string {
  return roughDuration(ms)
}

/** A size for people: `380 kB`, `12.4 MB`. */
export function size(bytes: number): string {
  if (bytes < 1_000_000) return `${Math.ceil(bytes / 1_000)} kB`
  const [unit, name] = bytes < 1_000_000_000 ? [1_000_000, 'MB'] : [1_000_000_000, 'GB']
  return `${(bytes / unit).toFixed(1)} ${name}`
}

/** `1 message`, `12 messages`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
