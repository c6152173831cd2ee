import { commandAt, SHELLS, scriptOf, simpleCommands, unquoted } from './exec-line.ts'

/**
 * Whether a command that does tasks takes the text of a task for something else than data. Whoever writes a task chooses its
 * text: one that begins with a dash is an option of the program, where it stands among the options (`claude -p "$TEXT"`).
 */

const NAME = 'S2_TASK_DESCRIPTION'
const BEGINS_WITH_TEXT = new RegExp(`^"*\\$(?:${NAME}(?!\\w)|\\{${NAME}[^}]*\\})`)
/** Programs of the shell that take a text for what it is, or at worst print less. */
const HARMLESS = ['echo', 'printf', 'test', '[', '[[', 'export', 'case', ':']
const DEPTH_MAX = 4

/** The words of an exec line that take the text where options stand, as they are written; null where none does. */
export function textAmongOptions(argv: readonly string[], depth = 0): string | null {
  const script = scriptOf(argv)
  if (script === null || depth > DEPTH_MAX) return null
  for (const words of simpleCommands(script)) {
    const found = amongOptions(words) ?? textAmongOptions(words.map(unquoted), depth + 1)
    if (found !== null) return found
  }
  return null
}

function amongOptions(words: readonly string[]): string | null {
  const start = commandAt(words)
  const command = unquoted(words[start] ?? '')
  if (HARMLESS.includes(command)) return null
  const end = words.indexOf('--', start)
  const at = words.findIndex((word, index) => index > start && BEGINS_WITH_TEXT.test(word))
  if (at === -1 || (end !== -1 && end < at)) return null
  if (SHELLS.test(command) && /^-[a-z]*c$/.test(words[at - 1] ?? '')) return null // it is meant to be a command
  return words.slice(start, at + 1).join(' ')
}
