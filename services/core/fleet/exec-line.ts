/**
 * A command line as somebody configured it: which programs it starts, as far as its words say. What is decided by it is how a
 * fault is told and where its cause is looked for, so a look that is good enough will do.
 */

/** Programs that take a script. */
export const SHELLS = /^(?:.*\/)?(?:ba|da|z|k|a)?sh$/
/** Words after which a command stands. */
const BEFORE_COMMAND = /^(?:exec|if|then|else|elif|while|until|do|!|\{|\(|time|command|nohup)$/
const ASSIGNMENT = /^[A-Za-z_]\w*=/
/** Programs that start another one: one of their words is that. */
const WRAPPERS = /^(?:.*\/)?(?:env|timeout|nice|ionice|nohup|setsid|stdbuf|chrt|taskset|sudo|doas|npx|bunx|pnpm|yarn)$/
const DEPTH_MAX = 4

/** The programs that a command line names, as it writes them, shells left out. What stands behind a variable is no part of it. */
export function programsOf(argv: readonly string[], depth = 0): string[] {
  const start = commandAt(argv)
  const program = argv[start] ?? ''
  const script = scriptOf(argv)
  if (script !== null && depth < DEPTH_MAX) {
    return [...new Set(simpleCommands(script).flatMap((words) => programsOf(words.map(unquoted), depth + 1)))]
  }
  if (!WRAPPERS.test(program)) return isPlain(program) ? [program] : []
  const shell = argv.findIndex((word, index) => index > start && SHELLS.test(word))
  const named = argv.slice(start, shell === -1 ? argv.length : shell).filter(isPlain)
  return shell === -1 ? named : [...named, ...programsOf(argv.slice(shell), depth + 1)]
}

function isPlain(word: string): boolean {
  return word !== '' && !SHELLS.test(word) && !ASSIGNMENT.test(word) && !/^-|[$`*?\s]/.test(word)
}

/** What a shell is given to run: the word after `-c`. */
export function scriptOf(argv: readonly string[]): string | null {
  const start = commandAt(argv)
  if (!SHELLS.test(argv[start] ?? '')) return null
  const at = argv.findIndex((word, index) => index > start && /^-[a-z]*c$/.test(word))
  return at === -1 ? null : (argv[at + 1] ?? null)
}

/** Where the program's own name stands, behind assignments and words like `exec`. */
export function commandAt(words: readonly string[]): number {
  const at = words.findIndex((word) => !ASSIGNMENT.test(word) && !BEFORE_COMMAND.test(word))
  return at === -1 ? 0 : at
}

/**
 * The words of each simple command of a script, quotes kept. What it does not understand (here-documents, arithmetic)
 * it takes for words.
 */
export function simpleCommands(script: string): string[][] {
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

export function unquoted(word: string): string {
  if (/^'[^']*'$/.test(word)) return word.slice(1, -1)
  return /^"[^"]*"$/s.test(word) ? word.slice(1, -1) : word
}
