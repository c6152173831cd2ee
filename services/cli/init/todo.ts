import { plain } from '#console/terminal-text.ts'
import { redact } from '#fleet/redact.ts'

/** A step that is left to a person, and the commands for it, ready to paste. */
export interface Todo {
  readonly what: string
  readonly commands?: readonly string[]
  /** An invitation to paste after them, which is shown as it is: this is how it comes to the person. */
  readonly invitation?: string
  /** Whether the command tried this step and failed. */
  readonly isFailure?: true
}

/** A numbered list for people, each command on a line of its own. */
export function numberedList(todos: readonly Todo[]): string {
  return todos
    .flatMap(({ what, commands = [], invitation }, index) => [
      redact(`${String(index + 1).padStart(3)}. ${what}`),
      ...commands.map((each) => redact(`       ${each}`)),
      ...(invitation === undefined ? [] : [`       ${invitation}`]),
    ])
    .map((line) => `${plain(line)}\n`)
    .join('')
}

/** One line of text, for JSON. */
export function todoText({ what, commands = [], invitation }: Todo): string {
  const shown = [...commands.map((each) => redact(each)), ...(invitation === undefined ? [] : [invitation])]
  return shown.length === 0 ? redact(what) : `${redact(what)}: ${shown.join('; ')}`
}
