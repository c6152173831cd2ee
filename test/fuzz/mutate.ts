import type { Dice } from '../simulation/chance.ts'

/** What parsers stumble over. */
const PIECES = [
  '"',
  '\\',
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '\r\n',
  '\0',
  '\u2028',
  '\ud800',
  '\\u0061',
  '__proto__',
  'host: b\r\n',
  'content-length: 1\r\n',
  ';',
  '=',
  '"@authority"',
  '1e999',
  '-0',
  ' ',
  'null',
  '\u202e',
  'transfer-encoding: chunked\r\n',
]

/** One text out of kept ones: changed at a few places, doubled, cut, or crossed with another. */
export function mutate(kept: readonly string[], dice: Dice): string {
  let text = dice.pick(kept)
  for (let count = dice.whole(1, 3); count > 0; count -= 1) {
    const at = dice.whole(0, text.length)
    const to = Math.min(text.length, at + dice.whole(0, 12))
    const kind = dice.whole(0, 5)
    if (kind === 0) text = text.slice(0, at) + dice.pick(PIECES) + text.slice(at)
    else if (kind === 1) text = text.slice(0, at) + text.slice(to)
    else if (kind === 2) text = text.slice(0, to) + text.slice(at)
    else if (kind === 3) text = text.slice(0, at) + String.fromCharCode(dice.whole(0, 0x2ff)) + text.slice(at + 1)
    else if (kind === 4) text = text.slice(0, at) + dice.pick(kept).slice(at)
    else text = text.slice(0, at)
  }
  return text
}
