import { textHead } from '#fleet/cut-text.ts'
import { field, textOf } from './said.ts'

/** Characters of what a tool is given that a line shows. */
const SHOWN_MAX = 200
/** What of a tool's input says most, in this order. */
const TELLING = ['command', 'file_path', 'path', 'pattern', 'query', 'url', 'description', 'prompt'] as const

/** A tool and what it is given, in one line: `Bash: npm test`. */
export function toolLine(name: string, input: unknown): string {
  const said = TELLING.map((each) => textOf(field(input, each))).find((each) => each !== null)
  return said === undefined ? name : `${name}: ${textHead(said.replace(/\s+/g, ' ').trim(), SHOWN_MAX)}`
}
