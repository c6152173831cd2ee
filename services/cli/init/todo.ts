import { plain } from '#console/text.ts'
import { redact } from '#fleet/redact.ts'

/** Something that a person has to do, and the commands for it, ready to paste. */
export interface Todo {
  readonly what: string
  readonly commands?: readonly string[]
  /** Something that was wanted and did not succeed. */
  readonly isFailure?: true
}

/** A numbered list for people; each command stands alone on its line. */
export function listed(left: readonly Todo[]): string {
  return left
    .flatMap(({ what, commands = [] }, index) => [
      `${String(index + 1).padStart(3)}. ${what}`,
      ...commands.map((each) => `       ${each}`),
    ])
    .map((line) => `${plain(redact(line))}\n`)
    .join('')
}

/** One line for programs. */
export function inWords({ what, commands = [] }: Todo): string {
  return redact(commands.length === 0 ? what : `${what}: ${commands.join('; ')}`)
}
