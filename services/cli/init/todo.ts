import { plain } from '#console/terminal-text.ts'
import { redact } from '#fleet/redact.ts'

/** A step that is left to a person, and the commands for it, ready to paste. */
export interface Todo {
  readonly what: string
  readonly commands?: readonly string[]
  /** Whether the command tried this step and failed. */
  readonly isFailure?: true
}

/** A numbered list for people, each command on a line of its own. */
export function numberedList(todos: readonly Todo[]): string {
  return todos
    .flatMap(({ what, commands = [] }, index) => [
      `${String(index + 1).padStart(3)}. ${what}`,
      ...commands.map((each) => `       ${each}`),
    ])
    .map((line) => `${plain(redact(line))}\n`)
    .join('')
}

/** One line of text, for JSON. */
export function todoText({ what, commands = [] }: Todo): string {
  return redact(commands.length === 0 ? what : `${what}: ${commands.join('; ')}`)
}
