import { textAmongOptions } from '#fleet/task-text.ts'
import { plain } from './terminal-text.ts'

/** What a person is told whose exec line takes the text of a task where options stand; empty for a good one. `whose` names the worker. */
export function warningOfTaskText(argv: readonly string[], whose = ''): string {
  const words = textAmongOptions(argv)
  if (words === null) return ''
  return `s2: ${whose}a task whose text begins with a dash is taken for an option by: ${plain(words)}
  next: put -- before the text, as in claude -p -- "$S2_TASK_DESCRIPTION", or read it from standard input (--stdin text)
`
}
