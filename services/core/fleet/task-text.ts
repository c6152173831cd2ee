/**
 * Whether a command that does tasks takes the text of a task for something else than data. Whoever writes a task chooses its
 * text: one that begins with a dash is an option of the program, where it stands among the options (`claude -p "$TEXT"`).
 */

const NAME = 'S2_TASK_DESCRIPTION'
const BEGINS_WITH_TEXT = new RegExp(`^"*\\$(?:${NAME}(?!\\w)|\\{${NAME}[^}]*\\})`)
const SHELLS = /^(?:.*\/)?(?:ba|da|z|k|a)?sh$/
/** Programs of the shell that take a text for what it is, or at worst print less. */
const HARMLESS = ['echo', 'printf', 'test', '[', '[[', 'export', 'case', ':']
/** Words after which a command stands. */
const BEFORE_COMMAND = /^(?:exec|if|then|else|elif|while|until|do|!|\{|\(|time|command|nohup)$/
const ASSIGNMENT = /^[A-Za-z_]\w*=/
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

/** What a shell is given to run: the word after `-c`. */
function scriptOf(argv: readonly string[]): string | null {
  const start = commandAt(argv)
  if (!SHELLS.test(argv[start] ?? '')) return null
  const at = argv.findIndex((word, index) => index > start && /^-[a-z]*c$/.test(word))
  return at === -1 ? null : (argv[at + 1] ?? null)
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

/** Where the program's own name stands, behind assignments and words like `exec`. */
function commandAt(words: readonly string[]): number {
  const at = words.findIndex((word) => !ASSIGNMENT.test(word) && !BEFORE_COMMAND.test(word))
  return at === -1 ? 0 : at
}

/**
 * The words of each simple command of a script, quotes kept. A look that is good enough for a warning: what it does not
 * understand (here-documents, arithmetic) it takes for words.
 */
function simpleCommands(script: string): string[][] {
  const commands: string[][] = [[]]
  const part = /\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\([^()]*\)|\$\{[^}]*\}|[;&|\n()]|\s+|[^\s;&|\n()'"\\$]+|./gsy
  let word = ''
  const endWord = (): void => {
    if (word !== '') commands.at(-1)?.push(word)
    word = ''
  }
  for (const [piece] of script.matchAll(part)) {
    if (/^[;&|\n()]$/.test(piece)) {
      endWord()
      commands.push([])
    } else if (/^\s+$/.test(piece)) {
      endWord()
      if (piece.includes('\n')) commands.push([])
    } else word += piece
  }
  endWord()
  return commands.filter((words) => words.length > 0)
}

function unquoted(word: string): string {
  if (/^'[^']*'$/.test(word)) return word.slice(1, -1)
  return /^"[^"]*"$/s.test(word) ? word.slice(1, -1) : word
}
